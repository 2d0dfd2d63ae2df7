"""Redaction: what looks like a secret goes, what only sounds like one stays."""

from __future__ import annotations

import pytest

from mltrack.process.secret_patterns import REDACTED, Redactor

KEY = "q7Xw9" + "Zr4Tn2Lk8Vb3Ym6"  # no real one


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(environment={})


@pytest.mark.parametrize(
    "name",
    [
        *("password", "DB_PASSWORD", "wandbApiKey", "OPENAI_API_KEY", "aws_secret_access_key", "api-key", "apikey"),
        *(
            "HF_TOKEN",
            "token",
            "github_token",
            "auth_token",
            "accessToken",
            "client_secret",
            "AZURE_STORAGE_ACCOUNT_KEY",
        ),
        *("CONNECTION_STRING", "private_key", "ssh_key", "Authorization", "MYSQL_PWD", "credentials"),
    ],
)
def test_values_of_secret_names_are_redacted(redactor: Redactor, name: str) -> None:
    assert redactor.value(name, KEY) == REDACTED
    assert KEY not in redactor.text(f'{name} = "{KEY}"')
    assert KEY not in redactor.text(f"{name}: {KEY}1")
    assert KEY not in " ".join(redactor.command(["train.py", f"--{name}", KEY, f"--{name}={KEY}"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("use_cls_token", "True"),
        ("use_cls_token", "learned-embedding"),
        ("pad_token", "<|endoftext|>"),
        ("eos_token_id", "50256"),
        ("max_tokens", "4096"),
        ("tokenizer", "bert-base-uncased"),
        ("key", "value-of-a-dict"),
        ("primary_key", "identifier"),
        ("monkey", "a-long-animal-name"),
        ("num_tokens_per_batch", "100000"),
        ("token", "False"),
        ("token", "12345678"),
        ("keyboard_layout", "dvorak-programmer"),
        ("password", "none"),
        ("special_token", "begin-of-text"),
        ("author", "Ada Lovelace"),
        ("secretary", "someone-at-a-desk"),
    ],
)
def test_what_only_resembles_a_secret_is_kept(redactor: Redactor, name: str, value: str) -> None:
    assert redactor.value(name, value) == value
    assert redactor.text(f"{name}={value}") == f"{name}={value}"


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "ghp_" + "a1B2c3D4e5" * 4,
        "github_pat_" + "a1B2c3D4e5" * 5,
        "sk-" + "proj-a1B2c3D4e5f6G7h8I9j0",
        "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
        "xoxb-" + "123456789012-abcdefghij",
        "AIza" + "a" * 35,
        "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        "dapi" + "0123456789abcdef" * 2,
        "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\n-----END RSA " + "PRIVATE KEY-----",
    ],
)
def test_known_token_formats_are_redacted_anywhere(redactor: Redactor, secret: str) -> None:
    said = redactor.text(f"before {secret} after")
    assert said == f"before {REDACTED} after"


def test_credentials_in_urls_headers_and_connection_strings_are_redacted(redactor: Redactor) -> None:
    assert redactor.text("git clone https://me:s3cret@host/x.git") == f"git clone https://me:{REDACTED}@host/x.git"
    assert redactor.text("postgres://u:p@db/x") == f"postgres://u:{REDACTED}@db/x"
    assert (
        redactor.text("postgres://u:p+q/r@db/x http://h:5000/a@b") == f"postgres://u:{REDACTED}@db/x http://h:5000/a@b"
    )
    assert redactor.text("curl -H 'Authorization: Bearer abc.def-ghi'").count("abc.def") == 0
    assert redactor.text("?sv=1&sig=AbC%2F123&se=2") == f"?sv=1&sig={REDACTED}&se=2"
    assert "c2VjcmV0" not in redactor.text("AccountName=x;AccountKey=c2VjcmV0c2VjcmV0==;EndpointSuffix=y")


def test_what_is_assigned_within_another_value_is_redacted(redactor: Redactor) -> None:
    assert redactor.text("ValueError: password=hunter22, user=me") == f"ValueError: password={REDACTED}, user=me"
    assert redactor.text("Error: retry: token=a1b2c3d4e5") == f"Error: retry: token={REDACTED}"
    assert redactor.text('msg = "api_key: a1b2c3d4"') == f'msg = "api_key: {REDACTED}"'
    assert redactor.text("{'a': 'token', 'b': 'password', 'c': 3}") == "{'a': 'token', 'b': 'password', 'c': 3}"


def test_the_value_of_a_secret_variable_is_redacted_anywhere() -> None:
    redactor = Redactor(environment={"SERVICE_PASSWORD": "correct horse battery", "HOME": "/somewhere/else"})
    assert redactor.text("run --pin 'correct horse battery' in /somewhere/else") == (
        f"run --pin '{REDACTED}' in /somewhere/else"
    )


def test_code_that_fetches_a_secret_is_kept(redactor: Redactor) -> None:
    for line in (
        'token = os.environ["HF_TOKEN"]',
        "password = getpass.getpass()",
        "api_key=args.api_key,",
        "export API_KEY=$OTHER",
        "def login(password: str, token: str | None = None):",
        'secret = f"{prefix}-x"',
    ):
        assert redactor.text(line) == line


def test_the_list_can_be_extended_and_the_switch_turns_it_off() -> None:
    more = Redactor.from_environment(environment={"MLTRACK_REDACT_NAMES": "pin, *_code"})
    assert more.value("pin", "1234") == REDACTED
    assert more.value("door_code", "1234") == REDACTED
    assert more.value("opinion", "1234") == "1234"
    off = Redactor.from_environment(environment={"MLTRACK_REDACT": "0", "API_KEY": KEY})
    assert off.text(f"password={KEY}") == f"password={KEY}"
    assert off.value("password", KEY) == KEY


def test_redacting_twice_changes_nothing_more(redactor: Redactor) -> None:
    once = redactor.text(f'API_KEY = "{KEY}"\nurl = "https://u:{KEY}@h/"\n')
    assert redactor.text(once) == once


def test_a_token_as_the_user_of_a_url_is_redacted_and_a_name_is_kept(redactor: Redactor) -> None:
    assert redactor.text(f"https://{KEY}@host/x.git") == f"https://{REDACTED}@host/x.git"
    assert redactor.text(f"https://{KEY}:x-oauth-basic@host/x") == f"https://{REDACTED}:{REDACTED}@host/x"
    for address in ("ssh://git@host/x.git", "https://ada.lovelace2@host/x", "https://host/a@b", "git@host:a/b.git"):
        assert redactor.text(address) == address


def test_folders_in_shell_variables_are_not_passwords() -> None:
    redactor = Redactor(environment={"PWD": "/home/ada/project", "OLDPWD": "/home/ada/other"})
    assert redactor.text('File "/home/ada/project/train.py", line 3') == 'File "/home/ada/project/train.py", line 3'
    assert redactor.value("MYSQL_PWD", KEY) == REDACTED


@pytest.mark.parametrize(
    "text",
    [
        "x" * 300_000,
        "a." * 150_000,
        'a="' * 20_000,
        "http:" * 60_000,
        "eyJ" * 60_000,
        "a=" * 60_000,
        "a=a=a=a=, " * 900,
    ],
)
def test_redacting_a_long_line_takes_no_longer_than_many_short_ones(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text  # in time squared, it would take hours


@pytest.mark.parametrize(
    "words",
    [
        ["train.py", "--api-key=correcthorse"],
        ["train.py", "--password", "correcthorse"],
        ["train.py", "+wandb.api_key=correcthorse"],
        ["env", "DB_PASSWORD=correcthorse", "python", "train.py"],
        ["sh", "-c", "python train.py --password correcthorse"],
        ["sh", "-c", "API_KEY=correcthorse2 python train.py"],
    ],
)
def test_a_secret_of_letters_only_is_redacted_on_a_command_line(redactor: Redactor, words: list[str]) -> None:
    shown = " ".join(redactor.command(words))
    assert "correcthorse" not in shown
    assert REDACTED in shown


@pytest.mark.parametrize(
    "word",
    ["--tokenizer=bert-base", "--api-key=$API_KEY", "use_cls_token=learned-embedding", "python x.py --max-tokens 4096"],
)
def test_other_words_of_a_command_line_are_kept(redactor: Redactor, word: str) -> None:
    assert redactor.command(["train.py", word]) == ["train.py", word]
