"""A headless Chromium for the tests of pages."""

import contextlib
import shutil

import pytest

_PROGRAMS = ("chromium", "chromedriver")
_FLAGS = (
  "--headless",
  "--no-sandbox",
  "--no-first-run",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-dev-shm-usage",
  # WebGL without a GPU.
  "--use-gl=angle",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
  # Pages stand still until a test sets them going.
  "--force-prefers-reduced-motion",
)
SECONDS = 120  # Until a condition must hold; a busy machine is slow.


@contextlib.contextmanager
def opened(profile, downloads=None, size=(1280, 800)):
  """A browser with an empty profile; skips the test where there is none.

  Args:
    profile: an empty folder.
    downloads: folder that files are saved to.
    size: of the window, pixels.
  """
  missing = [name for name in _PROGRAMS if shutil.which(name) is None]
  if missing:
    pytest.skip(
      f"needs {' and '.join(missing)}: apt-get install chromium chromium-driver"
    )
  webdriver = pytest.importorskip("selenium.webdriver")
  from selenium.webdriver.chrome import service

  options = webdriver.ChromeOptions()
  options.binary_location = shutil.which("chromium")
  size = ",".join(map(str, size))
  for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={size}"):
    options.add_argument(flag)
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  if downloads is not None:
    options.add_experimental_option(
      "prefs", {"download.default_directory": str(downloads)}
    )
  driver = webdriver.Chrome(
    options, service.Service(shutil.which("chromedriver"))
  )
  try:
    driver.set_page_load_timeout(SECONDS)
    driver.set_script_timeout(SECONDS)
    yield driver
  finally:
    driver.quit()


def wait(driver, condition, what):
  """Waits until a condition of the page holds; fails saying what was awaited.

  Args:
    driver: the browser.
    condition: called with the driver; elements it asks for may not be there
      yet.
    what: is awaited.
  """
  from selenium.common import exceptions
  from selenium.webdriver.support import wait as waiting

  passing = (
    exceptions.NoSuchElementException,
    exceptions.StaleElementReferenceException,
  )
  return waiting.WebDriverWait(
    driver, SECONDS, ignored_exceptions=passing
  ).until(condition, f"waited {SECONDS} s for {what}")


def errors(driver):
  """Errors that the page wrote to the console since the last call."""
  return [
    entry["message"]
    for entry in driver.get_log("browser")
    if entry["level"] == "SEVERE"
  ]
