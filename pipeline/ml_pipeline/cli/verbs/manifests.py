"""``ml-pipeline manifests``: what Kubernetes needs to serve a version, without a cluster."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import ENVIRONMENT, Verb
from ml_pipeline.core import errors
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.stages.record import flag_set, path_flag
from ml_pipeline.stages.table import DeployFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


@flag_set
class ManifestsFlags(DeployFlags):
    out: str | None = path_flag(
        "folder for one file a kind; one stream to standard output if left out"
    )


def write_manifests(call: Call[ManifestsFlags]) -> int:
    from ml_pipeline.promotion import manifests
    from ml_pipeline.targets.kubernetes.manifests import to_yaml

    session = call.open()
    session.home.check_owner()
    environment = call.required_environment(session)
    with contextlib.redirect_stdout(sys.stderr):
        resources = manifests.render(
            session.project,
            session.home,
            session.policy,
            environment=environment,
            number=call.flags.version,
            progress=session.progress,
        )
    call.screen.clear()
    out = call.flags.out
    if out is None:
        as_json = json.dumps(resources, indent=2) + "\n"
        sys.stdout.write(as_json if call.common.json else to_yaml(resources))
        return errors.PASS
    try:
        files = [str(file) for file in manifests.write(resources, Path(out))]
    except OSError as error:
        raise EnvironmentFault(f"--out {out}: {error.strerror}") from None
    call.show(files, files)
    return errors.PASS


VERB = Verb(
    name="manifests",
    summary="write what Kubernetes needs to serve a version, without a cluster",
    run=write_manifests,
    flags=ManifestsFlags,
    words=(ENVIRONMENT,),
)
