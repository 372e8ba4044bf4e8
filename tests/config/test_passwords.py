import pytest

from ucluster_tune.config.loading import load_study_config
from ucluster_tune.config.passwords import hide_passwords, uri_without_password
from ucluster_tune.errors import ConfigurationError


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+pg8000://ann:pw@db:5432/a", "postgresql+pg8000://ann@db:5432/a"),
        ("postgresql+pg8000://:pw@/a?unix_sock=/run/x", "postgresql+pg8000:///a?unix_sock=/run/x"),
        ("postgresql://ann@site.org:p:w@db/a", "postgresql://ann@site.org@db/a"),
        ("mysql://ann:p?w#/@db/a", "mysql://ann@db/a"),
        ("postgresql://ann@db/a?password=pw", "postgresql://ann@db/a"),
        ("http://ann:pw@host:5000/x@y", "http://ann@y"),
        ("http://host:5000/x@y", "http://host:5000/x@y"),
        ("https://host:5000/?a=b@c", "https://host:5000/?a=b@c"),
        ("sqlite:////a:b@c.db", "sqlite:////a:b@c.db"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("runs.db", "runs.db"),
    ],
)
def test_no_piece_of_a_password_is_shown(uri, shown):
    assert uri_without_password(uri) == shown
    assert hide_passwords(f"cannot open '{uri}': no") == f"cannot open '{shown}': no"


@pytest.mark.parametrize(
    ("key", "uri", "message"),
    [
        (
            "uri",
            "postgresql+pg8000://ann:hush@db/mlflow",
            "tracking.uri: must hold no password, since the file is kept with the study and in"
            " MLflow: write postgresql+pg8000://ann@db/mlflow and put the password into ~/.pgpass,"
            " or set PGPASSWORD",
        ),
        ("uri", "https://ann:hush@tracking", "MLFLOW_TRACKING_PASSWORD"),
        ("optuna_storage", "postgresql://ann:hush@db/optuna", "must hold no password"),
        ("optuna_storage", "sqlite:///optuna.db", "must be the URL of a database server"),
        ("optuna_storage", "optuna.db", "must be the URL of a database server"),
        ("storage", "postgresql://ann:hush@db/optuna", "unknown key"),
    ],
)
def test_a_file_and_an_option_with_a_password_are_refused_without_showing_it(
    tmp_path, key, uri, message
):
    file = tmp_path / "jets.yaml"
    file.write_text(f"data: {{path: jets}}\ntracking: {{{key}: '{uri}'}}\n")
    with pytest.raises(ConfigurationError) as of_file:
        load_study_config(file)
    file.write_text("data: {path: jets}\n")
    with pytest.raises(ConfigurationError) as of_option:
        load_study_config(file, [f"tracking.{key}={uri}"])
    assert message in str(of_file.value)
    assert "hush" not in str(of_file.value) + str(of_option.value)


def test_a_section_that_is_a_uri_is_shown_without_its_password(tmp_path):
    file = tmp_path / "jets.yaml"
    file.write_text("data: {path: jets}\ntracking: 'postgresql://ann:hush@db/mlflow'\n")
    with pytest.raises(ConfigurationError, match="postgresql://ann@db") as caught:
        load_study_config(file)
    assert "hush" not in str(caught.value)
