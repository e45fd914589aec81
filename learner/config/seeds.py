"""Several seeds of one configuration, trained side by side: the settings of each one's own run."""

from pathlib import Path

from learner.config.resume import begun, ended
from learner.config.settings import Config


def of_seeds(config: Config) -> list[Config]:
    """These, or with `seeds` those of every seed's run: as of a run alone, which goes on by its name in the folder of them all.

    A seed that has ended is left out, as long as others have not.
    """
    if not config.seeds:
        return [config]
    alone = [_alone(config, seed) for seed in config.seeds]
    return [each for each in alone if not (each.resume and ended(Path(each.resume), each.iterations))] or alone


def _alone(config: Config, seed: int) -> Config:
    name = f"seed{seed}"
    folder = config.resume and str(Path(config.resume) / name)
    place, mark, options = (config.checkpoint.path or "").partition("?")
    checkpoint = config.checkpoint.replace(path=place and f"{place.rstrip('/')}/{name}{mark}{options}" or None)
    resume = folder if folder and begun(Path(folder)) else None
    return config.replace(seeds=(), seed=seed, run_dir=folder, run_name=name, resume=resume, checkpoint=checkpoint)
