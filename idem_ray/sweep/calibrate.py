"""The number of seed examples at which cycle 0 reaches a wanted trait score (arXiv 2605.01130:
binary search over n_seed), and what `idem-ray calibrate` shows of it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from idem_ray.config.lineage import LineageConfig
from idem_ray.errors import UserError, told_by
from idem_ray.judges.embedded.examples import examples_with_trait
from idem_ray.lineage.driver import Driver, check_models, driving
from idem_ray.lineage.opened import OpenedRun
from idem_ray.lineage.plan import Plan
from idem_ray.lineage.shared import SharedWork
from idem_ray.records import BASE_CYCLE, CycleRecord, Estimate, content_hash
from idem_ray.report.terminal import plain_console
from idem_ray.store.run import RunStore
from idem_ray.text import estimate_text
from idem_ray.traits.traits import load_trait

STEP = 2
LARGEST = 200
TARGETS = (5.0, 20.0, 40.0, 60.0, 80.0)
"""Steps and limit of n_seed, and the usual targets: the settings of the paper's authors."""


class _NotMeasured(Exception):
    """A cycle 0 that the search needs has not been made."""


def search_n_seed(score: Callable[[int], float], target: float, largest: int) -> int | None:
    """The smallest n_seed of 2, 4, .. whose score reaches the target, by binary search: the score is taken to grow with
    n_seed. None where the largest does not reach it.

    Args:
        score: mean trait score (0-100) of the cycle-0 model trained on so many seed examples.
        largest: n_seed is not over it.
    """
    low, high = 1, largest // STEP + 1
    while low < high:
        middle = (low + high) // 2
        if score(STEP * middle) >= target:
            high = middle
        else:
            low = middle + 1
    return STEP * low if STEP * low <= largest else None


def most_steps(largest: int) -> int:
    """Scores that `search_n_seed` asks for at most."""
    return (largest // STEP).bit_length()


@dataclass
class Calibration:
    """The cycle-0 models of one trait and setting by n_seed, each a run of one cycle in the folder `calibration` below
    the output folder. They are measured as the lineage's own cycles are, so that a lineage that starts with one of them
    shares it whole.

    Attributes:
        root: folder below which the runs lie.
    """

    config: LineageConfig
    root: str

    @property
    def largest(self) -> int:
        """The largest n_seed that the trait's data allow, at most `LARGEST`."""
        examples = examples_with_trait(load_trait(self.config.trait), self.config.text_format)
        return min(LARGEST, len(examples))

    @property
    def most_cycles(self) -> int:
        """Cycles that a search may have to train and measure."""
        return most_steps(self.largest)

    @property
    def folder(self) -> str:
        """Where its runs lie."""
        return self.run_config(STEP).output

    def run_config(self, n_seed: int) -> LineageConfig:
        """Settings of the run that measures this n_seed: the lineage's, up to its cycle 0, so that lineages which
        differ in their later cycles alone share a calibration."""
        least = self.config.up_to_cycle_0().model_copy(update={"n_seed": STEP})
        trait = load_trait(self.config.trait)
        folder = f"{self.root.rstrip('/')}/calibration/{trait.name}-{content_hash(least.hash, trait.hash)}"
        return least.model_copy(update={"n_seed": n_seed, "name": f"n_seed_{n_seed:03d}", "output": folder})

    def known(self, n_seed: int) -> CycleRecord | None:
        """The measured cycle 0, if it is committed."""
        return RunStore(self.run_config(n_seed).run_uri).record(0)

    def known_n_seed(self, target: float) -> int | None:
        """What the runs that are there say, or None where more are needed.

        Raises:
            UserError: the target is out of reach.
        """

        def score(n_seed: int) -> float:
            record = self.known(n_seed)
            if record is None:
                raise _NotMeasured
            return _trait(record)

        try:
            return self._found(search_n_seed(score, target, self.largest), target)
        except _NotMeasured:
            return None

    def n_seed(self, target: float, driver: Driver) -> int:
        """Find the n_seed, training what is not there yet.

        Raises:
            UserError: the target is out of reach.
        """
        console = driver.console

        def score(n_seed: int) -> float:
            record = self.known(n_seed)
            if record is None:
                config = self.run_config(n_seed)
                driver.at_work.clear()
                driver.at_work[config.hash] = f"calibration, {config.name}"
                record = self._measure(config, driver)
            trait = estimate_text(record.measures.get("trait"))
            console.print(f"calibration to {target:g}: n_seed {n_seed}: trait {trait}", highlight=False, markup=False)
            return _trait(record)

        n_seed = self._found(search_n_seed(score, target, self.largest), target)
        console.print(f"calibrated to {target:g}: n_seed is {n_seed}", highlight=False, markup=False)
        return n_seed

    def share(self, shared: SharedWork, plan: Plan) -> None:
        """Offer the cycles of this calibration to a lineage whose n_seed is one of them."""
        config = self.run_config(plan.config.n_seed)
        run, made = RunStore(config.run_uri), Plan.of(config)
        for cycle in (BASE_CYCLE, 0):
            same = made.history(cycle) == plan.history(cycle)
            if same and run.record(cycle) and not shared.maker(plan.history(cycle), cycle):
                shared.register(plan.history(cycle), cycle, run.uri)

    def measured(self) -> dict[int, Estimate]:
        """Trait scores of every cycle 0 that is there, by n_seed."""
        records = {n_seed: self.known(n_seed) for n_seed in range(STEP, self.largest + 1, STEP)}
        return {n_seed: record.measures["trait"] for n_seed, record in records.items() if record}

    def _measure(self, config: LineageConfig, driver: Driver) -> CycleRecord:
        shared = SharedWork(config.output, command=driver.command)  # the base model is measured once for all
        lineage = OpenedRun.of(config).at_work(driver.session.pools, driver.session.finetuner, shared)
        try:
            return list(lineage.cycles())[-1]
        except Exception as error:
            raise told_by(error) or error from None

    def _found(self, n_seed: int | None, target: float) -> int:
        if n_seed is None:
            best = self.known(self.largest // STEP * STEP)
            reached = f": {self.largest} give {_trait(best):.0f}" if best else ""
            raise UserError(
                f"No n_seed up to {self.largest} brings trait '{self.config.trait}' to {target:g} in cycle 0{reached}; "
                "lower the target, add seed examples, or raise the learning rate of cycle 0."
            )
        return n_seed


def _trait(record: CycleRecord) -> float:
    mean = record.measures["trait"].mean
    if mean is None:
        raise UserError("Cycle 0 has no trait score: the judge's judgments are missing, see the run's record.json.")
    return mean


def run_calibration(config: LineageConfig, targets: Sequence[float]) -> None:
    """Find and print the smallest n_seed for every target; what earlier commands have measured is not done again.

    Raises:
        UserError: bad input, found before anything long was started.
    """
    check_models([config])
    calibration = Calibration(config, RunStore(config.output).uri)
    first = calibration.run_config(calibration.largest)
    Plan.of(first)
    console = plain_console(sys.stdout)
    found: dict[float, int | str] = {}

    def known(target: float) -> bool:
        try:
            n_seed = calibration.known_n_seed(target)
        except UserError as error:
            found[target] = str(error)
            return True
        if n_seed is not None:
            found[target] = n_seed
        return n_seed is not None

    missing = [target for target in targets if not known(target)]
    if missing:
        folder = RunStore(first.output)
        with driving(folder, [first], alone_in=[folder]) as driver:

            def task() -> None:
                for target in missing:
                    if not known(target):
                        try:
                            found[target] = calibration.n_seed(target, driver)
                        except UserError as error:
                            found[target] = str(error)

            driver.carry_out(task, "the calibration")
    _show(calibration, found, console)
    if not any(isinstance(n_seed, int) for n_seed in found.values()):
        raise UserError("No target was reached.")


def _show(calibration: Calibration, found: dict[float, int | str], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for heading in ("n_seed", "trait in cycle 0", "smallest for"):
        table.add_column(heading, justify="right")
    for n_seed, trait in calibration.measured().items():
        reached = ", ".join(f"{target:g}" for target, n in found.items() if n == n_seed)
        table.add_row(*map(Text, [str(n_seed), estimate_text(trait), reached]))
    console.print(table)
    for told in found.values():
        if isinstance(told, str):
            console.print(told, soft_wrap=True, markup=False)
    console.print("In a sweep's config: n_seed: calibrated(40) takes these, and shares their cycle 0.", markup=False)
