"""The pages of what a person makes by hand, and the demo: each button does what it says, or says why not."""

from __future__ import annotations

import httpx
import pytest

from tests.support.ui.looking import Look

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]  # the first one makes thousands of runs


@pytest.fixture(scope="module")
def demo(ui_url: str) -> str:
    """The id of the demo's experiment, which the first button of the home page makes."""
    made = httpx.post(f"{ui_url}/ajax-api/3.0/mlflow/demo/generate", json={}, timeout=300).raise_for_status().json()
    return str(made["experiment_id"])


def test_start_demo_makes_all_of_it(look: Look, demo: str) -> None:
    look.open(f"/experiments/{demo}/traces?workflowType=genai")
    look.shows("Output")
    look.shot("demo-traces")
    look.open(f"/experiments/{demo}/datasets?workflowType=genai")
    look.shows("demo-trace-level-dataset", "demo-baseline-session-dataset", "demo-improved-session-dataset")
    look.open(f"/experiments/{demo}/judges?workflowType=genai")
    look.shows("mlflow-demo.judges.correctness", "mlflow-demo.judges.safety")
    look.shot("demo-judges")
    look.open(f"/experiments/{demo}/evaluation-runs?workflowType=genai")
    look.shows("trace-level-evaluation")
    look.open(f"/experiments/{demo}/review-queue?workflowType=genai")
    look.shows("Demo Response Review")
    look.shot("demo-review")
    look.open(f"/experiments/{demo}/prompts?workflowType=genai")
    look.shows("mlflow-demo.prompts")


def test_a_dataset_is_made(look: Look, demo: str) -> None:
    look.open(f"/experiments/{demo}/datasets?workflowType=genai")
    look.click("Create dataset", then=look.dialog())
    look.fill(look.page.get_by_placeholder("Enter dataset name"), "made-by-hand")
    look.press(look.dialog().get_by_role("button", name="Create"), then=look.sent("datasets/create"))
    look.reload()  # MLflow's own page does not read its list again
    look.shows("made-by-hand")
    look.shot("dataset-made")


def make_webhook(look: Look, name: str, secret: str) -> None:
    look.open("/settings/webhooks")
    look.click("Create webhook", then=look.dialog())
    look.fill(look.page.get_by_placeholder("My webhook"), name)
    look.fill(look.page.get_by_placeholder("https://example.com/webhook"), "https://93.184.215.14/hook")
    look.fill(look.page.get_by_placeholder("Optional secret key"), secret)
    event = look.dialog().get_by_role("checkbox", name="Registered model created", checked=True)
    look.press(look.dialog().get_by_text("Registered model created"), then=look.there(event))
    look.press(look.dialog().get_by_role("button", name="Create"), then=look.sent("webhooks"))


def test_a_webhook_is_made(look: Look) -> None:
    make_webhook(look, "made-by-hand", "")
    look.reload()
    look.shows("made-by-hand")
    look.shot("webhook-made")


def test_a_webhook_s_secret_without_a_key_is_refused_with_words(look: Look) -> None:
    make_webhook(look, "with-secret", "hidden")
    look.shows("set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY")
    look.shot("webhook-refused")
    look.troubles = [words for words in look.troubles if "400" not in words and "webhooks" not in words]


def test_budgets_are_kept_and_the_registry_and_the_gateway_open(look: Look) -> None:
    look.open("/gateway/budgets")
    look.click("Create budget policy", then=look.dialog())
    look.fill(look.page.get_by_placeholder("e.g., 100.00"), "10")
    look.press(look.dialog().get_by_role("button", name="Create"), then=look.sent("budgets/create"))
    look.shows("$10")
    look.open("/mcp-registry")
    look.shows("Create MCP server")
    look.open("/gateway")
    look.shows("Get started with AI Gateway")
    look.shot("gateway")


def test_an_endpoint_of_the_gateway_needs_a_passphrase_and_says_so(look: Look) -> None:
    look.open("/gateway/endpoints/create")
    look.fill(look.page.get_by_placeholder("my-endpoint"), "by-hand")
    key = look.page.get_by_placeholder("my-api-key")
    look.pick(look.page.get_by_placeholder("Search for a provider..."), look.text("OpenAI"), then=key)
    look.fill(key, "key")
    look.fill(look.page.get_by_placeholder("Openai API Key"), "hidden")
    look.press(look.page.get_by_placeholder("Click to select a model"), then=look.dialog())
    look.fill(look.page.get_by_placeholder("Enter model name..."), "gpt")
    look.press(look.dialog().get_by_role("button", name="Select"), then=look.gone(look.dialog()))
    look.click("Create", then=look.sent("gateway/secrets/create"), exact=True)
    look.shows("MLFLOW_CRYPTO_KEK_PASSPHRASE")
    look.shot("endpoint-refused")
    look.expect_trouble("400 POST")


def test_a_judge_is_made(look: Look, demo: str) -> None:
    look.open(f"/experiments/{demo}/judges?workflowType=genai")
    form = look.dialog()
    look.click("New LLM judge", then=form)
    look.fill(form.get_by_placeholder("Custom"), "made_by_hand")
    look.press(form.get_by_text("Evaluation criteria").first, then=form.locator("textarea"))
    look.fill(form.locator("textarea"), "Is {{ outputs }} a kind answer to {{ inputs }}?")
    model = form.get_by_placeholder("openai:/")
    look.press(form.get_by_text("enter a model identifier", exact=True), then=model)
    look.fill(model, "openai:/gpt-5")
    look.shot("judge-form")
    look.press(form.get_by_role("button", name="Create judge"), then=look.sent("scorers/register"))
    look.reload()
    look.shows("made_by_hand")
    look.shot("judge-made")


def test_a_question_and_a_queue_are_made_and_a_review_is_submitted(look: Look, demo: str) -> None:
    look.open(f"/experiments/{demo}/review-queue?workflowType=genai")
    look.click("Manage questions", then=look.page.get_by_role("button", name="Add question"))
    look.click("Add question", then=look.dialog().get_by_role("button", name="Create"))
    look.fill(look.dialog().locator("input"), "polite")
    look.press(look.dialog().get_by_role("button", name="Create").last, then=look.sent("label-schemas/create"))
    look.shows("polite")
    look.open(f"/experiments/{demo}/review-queue?workflowType=genai&selectedQueueId=")
    look.reload()
    look.click("New queue", then=look.dialog())
    look.fill(look.dialog().locator("input"), "made by hand")
    polite = look.page.get_by_role("option", name="polite")
    look.press(look.dialog().get_by_text("Select or create questions"), then=polite)
    look.press(polite, then=look.page.get_by_role("option", name="polite", selected=True))
    look.until(look.gone(polite), lambda: look.page.keyboard.press("Escape"))
    look.press(look.dialog().get_by_role("button", name="Create").last, then=look.sent("review-queues/create"))
    look.shows("made by hand")
    look.shot("queue-made")
    look.choose("Default", then=look.page.get_by_role("button", name="Start review"))
    look.click("Start review", then="0 of 5 reviewed")
    for answer in ("Pass", "Helpful"):
        # the two questions' buttons have one name in the document, so that the browser itself checks one of them only
        look.choose(answer, then=look.page.locator(f"label[class*=wrapper-checked][title={answer}]"))
    for area in look.page.locator("textarea:visible").all():
        look.fill(area, "well done")
    quality = look.page.get_by_role("combobox", name="response_quality")
    option = look.page.get_by_role("option").first
    look.pick(quality, option, then=look.gone(look.text("Select an option")))
    look.click("Submit", then="1 of 5 reviewed")
    look.shot("reviewed")
    # it asks for the users that only a server with logins has
    look.troubles = [words for words in look.troubles if "users/list" not in words and "404" not in words]


def test_an_mcp_server_is_made(look: Look) -> None:
    look.open("/mcp-registry")
    look.click("Create MCP server", then=look.dialog())
    editor = look.dialog().locator("textarea, .monaco-editor, [contenteditable=true], .cm-content").first
    described = '{"name":"io.example/by-hand","version":"1.0.0","description":"made"}'

    def type_in() -> None:
        editor.click(force=True)
        look.page.keyboard.press("Control+A")
        look.page.keyboard.type(described)

    look.until(look.dialog().get_by_text(described), type_in)
    look.press(look.dialog().get_by_role("button", name="Create").last, then=look.sent("mcp-servers"))
    look.shows("Viewing version 1.0.0")
    look.shot("mcp-server-made")


def test_pictures_in_the_demo_s_traces_are_kept(ui_url: str, demo: str) -> None:
    searched = {"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": demo}}]}
    found = httpx.post(f"{ui_url}/ajax-api/3.0/mlflow/traces/search", json=searched | {"max_results": 100}, timeout=60)
    traces = found.raise_for_status().json()["traces"]
    shown = next(trace for trace in traces if trace.get("request_preview", "").startswith("What do you see"))
    place = shown["tags"]["mlflow.artifactLocation"].removeprefix("mlflow-artifacts:/")
    files = f"{ui_url}/api/2.0/mlflow-artifacts/artifacts"
    (kept,) = httpx.get(files, params={"path": f"{place}/attachments"}, timeout=60).raise_for_status().json()["files"]
    assert httpx.get(f"{files}/{place}/attachments/{kept['path']}", timeout=60).content.startswith(b"\x89PNG")
