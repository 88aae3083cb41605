"""The page in a real browser: headless Chromium, the address bar and clicks, no network."""

from collections.abc import Iterator

import pytest

from acim_jax.report import page as report
from tests.support import chromium, run_folders

pytestmark = pytest.mark.skipif(
    chromium.EXECUTABLE is None, reason="chromium is not installed (apt-get install chromium)"
)

_ROWS = "document.querySelectorAll('#list li').length"
_COUNT = "document.getElementById('count').textContent"
_BACKGROUND = "getComputedStyle(document.body).backgroundColor"
_INK = "getComputedStyle(document.querySelector('#plot-accuracy-0-0 .xtick text')).fill"
_LIGHT_PAGE, _DARK_PAGE = "rgb(246, 247, 249)", "rgb(16, 20, 25)"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.launch(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    experiment = run_folders.write_experiment(folder / "experiment")
    return report.write([experiment], folder / "report.html").as_uri()


@pytest.fixture
def page(tab: chromium.Page, address: str) -> chromium.Page:
    tab.events.clear()
    tab.open(address)
    return tab


def test_plots_are_drawn_without_complaint_or_request(page: chromium.Page, address: str) -> None:
    drawn = page.evaluate(
        "[...document.querySelectorAll('.panels:not([hidden]) .plot')]"
        ".map(plot => plot.querySelectorAll('svg .trace, svg .heatmaplayer image').length)"
    )
    assert len(drawn) == 18
    assert min(drawn) > 0
    assert page.evaluate("document.querySelectorAll('#plot-values-0-0 image').length") == 8
    loaded = [url for url in page.requests() if not url.startswith(("data:", "blob:", "about:"))]
    assert loaded == [address]
    # What a model wrote has not run, and is there to read.
    assert page.evaluate("document.title") == report.TITLE
    assert page.complaints() == []


def test_filters_in_the_address_change_the_list(page: chromium.Page) -> None:
    whole = page.evaluate(_ROWS)
    assert page.evaluate(_COUNT) == f"{whole} of {whole}"
    page.evaluate("location.hash = 'reward=right&decision=code&arm=em'")
    found = page.evaluate(
        "new Promise(done => setTimeout(() => done("
        "[...document.querySelectorAll('#list button')].map(row => row.textContent))))"
    )
    assert 0 < len(found) < whole
    assert all(row.startswith("✓code") and "EM" in row for row in found)
    assert page.evaluate("document.querySelector('[name=decision]').value") == "code"
    assert page.evaluate("document.querySelectorAll('.segment.OUTPUT').length") > 0
    assert page.complaints() == []


def test_search_selects_and_shows_hostile_text_as_text(page: chromium.Page) -> None:
    page.evaluate(
        "(() => { const q = document.querySelector('[name=q]'); q.value = \"TITLE='owned'\";"
        "q.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    assert page.evaluate(_COUNT).startswith("8 of ")
    shown = page.evaluate("document.getElementById('detail').textContent")
    assert run_folders.HOSTILE in shown
    assert page.evaluate("document.querySelectorAll('#detail script, #detail img').length") == 0
    assert page.evaluate("location.hash").startswith("#q=TITLE")
    second = page.evaluate(
        "(() => { const b = document.querySelectorAll('#list button')[1]; b.click();"
        "return b.getAttribute('aria-current'); })()"
    )
    assert second == "true"
    assert page.evaluate("document.title") == report.TITLE
    assert page.complaints() == []


def test_arm_selector_swaps_the_plots(page: chromium.Page) -> None:
    number = (
        "(id => document.getElementById(id)?.data?.filter(t => t.type === 'heatmap')[6].z[0][0])"
    )
    assert page.evaluate(f"{number}('plot-values-1-0')") is None
    page.evaluate("document.querySelectorAll('[data-section=values]')[1].click()")
    assert page.evaluate(f"{number}('plot-values-1-0')") == pytest.approx(0.02)
    assert page.evaluate(f"{number}('plot-values-0-0')") > 0.9
    assert page.evaluate("document.getElementById('view-values-0').hidden") is True
    assert page.complaints() == []


def test_dark_mode_follows_the_system_and_the_button(page: chromium.Page) -> None:
    light_ink = page.evaluate(_INK)
    assert page.evaluate(_BACKGROUND) == _LIGHT_PAGE
    page.set_dark(True)
    assert page.evaluate(_BACKGROUND) == _DARK_PAGE
    dark_ink = page.evaluate(f"new Promise(done => setTimeout(() => done({_INK}), 200))")
    assert dark_ink == "rgb(230, 235, 241)" != light_ink
    page.evaluate("document.getElementById('theme').click()")
    assert page.evaluate(_BACKGROUND) == _LIGHT_PAGE
    assert page.evaluate(_INK) == light_ink
    assert page.complaints() == []


def test_no_sideways_scrolling_on_a_laptop(page: chromium.Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 1366


def test_the_page_may_not_ask_for_anything(page: chromium.Page) -> None:
    """The policy is in force, and `complaints` would see what the other tests rule out."""
    wanted = "https://example.invalid/x"
    answer = f"fetch('{wanted}').then(() => 'loaded', () => 'refused')"
    assert page.evaluate(answer) == "refused"
    page.evaluate(
        "(() => { const s = document.createElement('script');"
        "s.textContent = 'document.title = \"owned\"'; document.body.append(s); })()"
    )
    assert page.evaluate("document.title") == report.TITLE
    assert wanted not in page.requests()
    entries = [complaint.get("entry", {}).get("text", "") for complaint in page.complaints()]
    assert sum("Content Security Policy" in entry for entry in entries) >= 2
