"""Make the embedded judge's shipped states anew (`make states`): what its reader reads in the shipped examples."""

import numpy as np
from safetensors.numpy import save_file

from idem_ray.judges.embedded.examples import shipped_examples
from idem_ray.judges.embedded.reader import Reader, embedded_reader
from idem_ray.judges.embedded.shipped import FILE, key_of


def write_shipped_states(reader: Reader) -> int:
    """Make the file, and say how many states are in it."""
    shown = shipped_examples()
    states = reader.states(shown, fresh=True).astype(np.float16)
    keys = " ".join(key_of(exchange) for exchange in shown)
    save_file({"states": states}, str(FILE), metadata={"state_hash": reader.state_hash, "keys": keys})
    return len(shown)


if __name__ == "__main__":
    print(f"{write_shipped_states(embedded_reader())} states written to {FILE.name}")
