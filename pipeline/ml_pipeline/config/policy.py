"""``policy``: what the project demands beyond the administrators' policy."""

from __future__ import annotations

from pydantic import Field

from ml_pipeline.config.section import Section


class PolicySection(Section):
    """What the project asks for beyond the administrators' policy; it can only tighten it."""

    approvers: tuple[str, ...] | None = Field(
        None, description="Who may approve; the administrators' policy if unset."
    )
    four_eyes: bool | None = Field(
        None, description="A change is not approved by one of its authors."
    )
    allow_yes: bool | None = Field(None, description="`approve --yes` counts as an approval.")
    automatic: bool = Field(False, description="Promote without a person, where the policy allows.")
    require: tuple[str, ...] = Field((), description="Stages whose report must have passed.")
