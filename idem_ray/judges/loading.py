"""Judges in this process, by a name or a settings file: for commands that need no cluster."""

import os
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from idem_ray.config.reading import read_yaml
from idem_ray.config.sections import EndpointJudgeSettings, JudgeSettings, LocalJudgeSettings, ProbeJudgeSettings
from idem_ray.errors import UserError
from idem_ray.judges.language.endpoint import EndpointSpec
from idem_ray.judges.language.local import JudgeEngineSpec, LocalModel, LocalSpec
from idem_ray.judges.language.rubric import rubrics_of
from idem_ray.judges.panel import Panel
from idem_ray.traits.traits import Trait


def read_judge(judge: str) -> JudgeSettings:
    """A judge's settings, from the command line's word for it.

    Raises:
        UserError: no such file, or settings that are wrong.
    """
    if judge == "probe":
        return ProbeJudgeSettings()
    data = read_yaml(Path(judge), "the judge's settings", " (or use 'probe')")
    data = data.get("judge", data) if isinstance(data, dict) else data
    try:
        adapter: TypeAdapter[JudgeSettings] = TypeAdapter(JudgeSettings)
        return adapter.validate_python({"type": data} if isinstance(data, str) else data)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise UserError(f"{judge}: judge{'.' + place if place else ''}: {problem['msg']}.") from error


def llm_panel(settings: EndpointJudgeSettings | LocalJudgeSettings, trait: Trait) -> tuple[Panel, dict[str, Any]]:
    """A language model as judge in this process, and what a report says of it.

    Raises:
        UserError: the trait has no rubrics, the endpoint cannot be used, or the model cannot be had.
    """
    if isinstance(settings, EndpointJudgeSettings):
        remote = EndpointSpec.checked(settings, trait)
        return Panel.endpoint(remote), remote.describe()
    rubrics = rubrics_of(trait)
    model = LocalModel.load(JudgeEngineSpec.of(settings), n_threads=os.cpu_count())
    local = LocalSpec(settings, rubrics, model.hash)
    return Panel.local(local, model), local.describe()
