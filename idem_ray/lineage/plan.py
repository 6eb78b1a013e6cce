"""All that a lineage is made of, read and checked before anything is started."""

from dataclasses import dataclass

from idem_ray.config.lineage import LineageConfig
from idem_ray.config.sections import MIN_EXAMPLES
from idem_ray.errors import UserError
from idem_ray.judges.embedded.examples import examples_with_trait
from idem_ray.judges.language.rubric import rubrics_of
from idem_ray.lineage.regimes.data import data_of
from idem_ray.records import Prompt, content_hash
from idem_ray.store.run import IDENTITY, RunStore
from idem_ray.traits.traits import Trait, load_prompts, load_trait, split_prompts


@dataclass(frozen=True)
class Plan:
    """A lineage's settings, trait and prompts."""

    config: LineageConfig
    trait: Trait
    prompts: list[list[Prompt]]
    """Prompts of cycles 1, 2, ..: disjoint shares of the pool."""
    pool_hash: str

    @property
    def identity(self) -> dict[str, str]:
        """Hashes of all that the lineage is made from (`store.run.IDENTITY`)."""
        return dict(zip(IDENTITY, (self.config.hash, self.trait.hash, self.pool_hash), strict=True))

    def history(self, cycle: int) -> str:
        """Hash of what makes the cycles up to this one: settings (`LineageConfig.history`) and data."""
        pool = self.pool_hash if cycle > 0 else ""
        return content_hash(self.config.history(cycle), self.trait.hash, pool)

    @staticmethod
    def of(config: LineageConfig) -> "Plan":
        """Read and check a lineage's trait and prompts.

        Raises:
            UserError: anything that could not work, in one sentence.
        """
        trait = load_trait(config.trait)
        data = data_of(config.regime)
        data.check(config, trait)
        positives = {exchange.answer for exchange in examples_with_trait(trait, config.text_format)}
        if config.judge.type != "probe":
            rubrics_of(trait)
        elif len(positives) < MIN_EXAMPLES:
            raise UserError(
                f"The embedded trait judge needs at least {MIN_EXAMPLES} different texts that show the trait, and "
                f"trait '{trait.name}' has {len(positives)}: add some."
            )
        n_per_cycle = config.n_sampled
        if config.filter.min_coherence is not None:
            n_per_cycle = int(config.n_sampled * config.filter.budget)
        pool = load_prompts(config.prompts)
        fork = config.forked_from
        used: set[str] = set()
        n_before = fork.cycle if fork else 0
        if fork:
            parent = RunStore(fork.run)
            for cycle in range(1, n_before + 1):
                used |= {sample.prompt_id for sample in parent.read_samples(cycle, "train")}
        shares = split_prompts(pool, trait, n_per_cycle, config.n_cycles - 1 - n_before, config.seed, used)
        pool_hash = content_hash(*(prompt.id for prompt in pool))
        return Plan(config, trait, [[] for _ in range(n_before)] + shares, pool_hash)
