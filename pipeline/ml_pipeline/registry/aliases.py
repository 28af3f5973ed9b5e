"""Aliases of a model's versions, and MLflow's deprecated stages where a project sets them too."""

from __future__ import annotations

from ml_pipeline.registry.mlflow_session import MlflowSession
from ml_pipeline.registry.registered_model import find_model
from ml_pipeline.registry.versions import CHALLENGER, CHAMPION, Version, list_versions, read_state

STAGE_OF = {CHALLENGER: "Staging", CHAMPION: "Production"}
"""The stage that goes with each alias."""


class Aliases:
    """The aliases of one model.

    Args:
        session: Asks MLflow.
        name: The registered model.
        stages: Set the stages ``Staging`` and ``Production`` as well.
    """

    def __init__(self, session: MlflowSession, name: str, *, stages: bool) -> None:
        self._session, self._name, self._stages = session, name, stages

    def number_of(self, alias: str) -> int | None:
        """Ask the registry which number an alias names, whether or not there is such a version.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with self._session.scope():
            model = find_model(self._session, self._name)
        number = None if model is None else model.aliases.get(alias)
        return None if number is None else int(number)

    def in_stage(self, stage: str) -> Version | None:
        """Return the newest version in one of MLflow's deprecated stages; None without one.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        state = read_state(self._session, self._name)
        if not state.exists:
            return None
        with self._session.scope():
            listed = list_versions(self._session, self._name)
        numbers = {int(item.version) for item in listed if item.current_stage == stage}
        found = [version for version in state.versions if version.number in numbers]
        return found[-1] if found else None

    def set(self, alias: str, version: Version | None) -> None:
        """Give the alias to a version, or to none, and with ``stages`` the stage that goes with it.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with self._session.scope():
            client = self._session.client
            if version is not None:
                client.set_registered_model_alias(self._name, alias, str(version.number))
            elif find_model(self._session, self._name) is not None:
                client.delete_registered_model_alias(self._name, alias)
            if self._stages:
                self._set_stage(alias, version)

    def _set_stage(self, alias: str, version: Version | None) -> None:
        """Move the deprecated stage along: servers that still use stages read it.

        A champion that is challenger again stays in Production.
        """
        client, stage = self._session.client, STAGE_OF[alias]
        listed = list_versions(self._session, self._name)
        holders = {int(item.version) for item in listed if item.current_stage == stage}
        target_number = None if version is None else version.number
        for number in holders - {target_number}:
            client.transition_model_version_stage(self._name, str(number), "Archived")
        if target_number is None or target_number in holders:
            return
        if alias == CHALLENGER:
            model = find_model(self._session, self._name)
            champion = None if model is None else model.aliases.get(CHAMPION)
            if champion is not None and int(champion) == target_number:
                return
        client.transition_model_version_stage(self._name, str(target_number), stage)
