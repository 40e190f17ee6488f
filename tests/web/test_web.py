"""Runs the page's tests (node --test), so that one pytest run covers everything."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WEB = ROOT / "whisperlivekit" / "web"


@pytest.mark.parametrize("module", sorted(HERE.glob("*.test.js")), ids=lambda path: path.name.removesuffix(".test.js"))
def test_module(module: Path) -> None:
    """The tests of this module pass, and there is at least one."""
    node = shutil.which("node")
    assert node is not None, "node is not installed: bash install.sh test installs it"
    run = subprocess.run(
        [node, "--test", "--test-reporter=tap", str(module)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "\n# pass 0\n" not in run.stdout


def test_every_module_of_the_page_is_parsed() -> None:
    """No script of the pages has a syntax error, including those that only a browser can run."""
    node = shutil.which("node")
    assert node is not None
    scripts = sorted(WEB.glob("*.js"))
    assert len(scripts) >= 10
    for script in scripts:
        run = subprocess.run([node, "--check", str(script)], check=False, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("page", ["index.html", "status.html"])
def test_page_loads_nothing_from_other_hosts(page: str) -> None:
    """No script, style, font or image comes from another host, and no script or style is inline."""
    html = (WEB / page).read_text(encoding="utf-8")
    assert "://" not in html
    for inline in (" style=", "<style", " onclick="):
        assert inline not in html
    assert html.count("<script") == html.count('<script type="module" src=') == 1
    for style in sorted(WEB.glob("*.css")):
        css = style.read_text(encoding="utf-8")
        assert "://" not in css
        assert "@import" not in css


def test_no_field_of_a_page_has_a_name() -> None:
    """A form field without a name is never part of an address, so a browser cannot put the access key into one."""
    for page in ("index.html", "status.html"):
        fields = re.findall(r"<input[^>]*>", (WEB / page).read_text(encoding="utf-8"))
        assert fields
        assert not [field for field in fields if " name=" in field]


def test_every_id_in_the_scripts_exists_in_its_page() -> None:
    """Only one script knows the ids of a page, and each id is there exactly once."""
    for page, script in (("index.html", "app.js"), ("status.html", "status-page.js")):
        html = (WEB / page).read_text(encoding="utf-8")
        source = (WEB / script).read_text(encoding="utf-8")
        ids = re.findall(r'(?:\$|button|select|input|element)\("([\w-]+)"\)', source)
        assert len(ids) >= 5
        for name in ids:
            assert html.count(f'id="{name}"') == 1, name
    scripts = {path.name for path in WEB.glob("*.js") if "getElementById" in path.read_text(encoding="utf-8")}
    assert scripts == {"app.js", "status-page.js"}
