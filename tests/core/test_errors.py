"""No message shows a password or a token."""

import pytest
from ml_pipeline import config
from ml_pipeline.core.errors import EnvironmentFault, UsageError, masked
from ml_pipeline.core.report import Check, Verdict

SECRET = "hush-1234567890abcdef"


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@example.org/x.git",
        f"https://user:a/b:{SECRET}@example.org/x.git is refused",
        f"https://user:{SECRET}@x@example.org/x.git",
        f"https://{SECRET}@example.org/x.git",
        f"'postgresql+psycopg://u:{SECRET}@db:5432/x'",
        f"fatal: unable to access 'https://oauth2:{SECRET}@example.org/': 403",
        f"user:{SECRET}@example.org:x.git",
        f"postgresql://db/x?user=u&password={SECRET}&sslmode=require",
        f"https://example.org/?access_token={SECRET}",
        f"https://example.org/?x=1&api_key={SECRET} failed",
    ],
)
def test_a_credential_is_masked_in_every_message(text):
    said = [
        masked(text),
        str(UsageError(text, expected=text, hint=text)),
        EnvironmentFault(text).fault,
        str(Check(name="x", verdict=Verdict.PASS, observed={"a": [text]}, why=text).model_dump()),
    ]
    for each in said:
        assert SECRET not in each
        assert "***" in each
        assert "example.org" in each or "db" in each


@pytest.mark.parametrize(
    "text",
    [
        "git@example.org:team/x.git",
        "ssh://git@example.org:22/x.git",
        "https://oauth2@example.org/x.git",
        "asha@ex.org: Asha",
        "at 10:30 user@host",
        "train.seed=3",
        "https://example.org/?page=2&sort=token",
    ],
)
def test_text_without_credentials_is_unchanged(text):
    assert masked(text) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gitops.repository", f"https://u:{SECRET}@example.org/x.git"),
        ("gitops.repository", f"https://u:p@ss/{SECRET}@example.org/x y"),
        ("gitops.repository", f"u:{SECRET}@example.org:x.git"),
        ("registry.name", f"https://u:{SECRET}@example.org"),
        ("data.source", f"{{kind: sql, url: 'postgresql://u:{SECRET}@db/x'}}"),
        ("data.source", f"{{kind: oracle, url: 'postgresql://u:{SECRET}@db/x'}}"),
        ("environments.staging.url", f"https://u:{SECRET}@example.org/"),
    ],
)
def test_a_refused_configuration_does_not_show_credentials(make_project, key, value):
    with pytest.raises(UsageError) as caught:
        config.load(make_project().root, [f"{key}={value}"], {})
    assert SECRET not in str(caught.value)
