"""The page's own tests, so that one pytest run covers them."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.parametrize("module", sorted(HERE.glob("*.test.js")), ids=lambda path: path.name.removesuffix(".test.js"))
def test_module(module: Path) -> None:
    """The tests of this module of the page pass, and there are some."""
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
    """No script of the page has an error of syntax, also those that only a browser can run."""
    node = shutil.which("node")
    assert node is not None
    scripts = sorted((ROOT / "whisperlivekit" / "web").glob("*.js"))
    assert len(scripts) >= 10
    for script in scripts:
        run = subprocess.run([node, "--check", str(script)], check=False, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr


def test_page_needs_nothing_from_elsewhere() -> None:
    """The page loads no script, style, font or image from another host, and has no inline script or style."""
    html = (ROOT / "whisperlivekit" / "web" / "index.html").read_text(encoding="utf-8")
    css = (ROOT / "whisperlivekit" / "web" / "style.css").read_text(encoding="utf-8")
    assert "://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "://" not in css
    assert "@import" not in css
    for inline in (" style=", "<style", " onclick="):
        assert inline not in html
    assert html.count("<script") == html.count('<script type="module" src=')
