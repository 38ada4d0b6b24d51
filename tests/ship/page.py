"""The page of examples/web in headless Chromium, worked as a user would: python3 tests/ship/page.py ATTAR [--shot FILE.png]

Builds the page, serves it, fills in the form, presses the buttons, and reads what the page shows: the text has to be the one
that `attar generate` writes with the same prompt and seed, and whatever goes wrong has to be said. Exit status 77, with the
reason, without Chromium or the tools that build.sh needs. The browser is driven over a pipe: Python's standard library is all
that is needed."""
import base64
import contextlib
import functools
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 120  # seconds until what does not happen counts as missing; all of this takes a few seconds
FILES = {"/", "/style.css", "/page.js", "/worker.js", "/sample.js", "/config.json", "/model.wasm", "/model.weights"}


class Failed(Exception):
    pass


# ---- the server ---------------------------------------------------------------------------------------------------------


class Folder(http.server.SimpleHTTPRequestHandler):
    """The built page; server.instead has answers that differ from it: a status and the body. A body is cut short where the
    status is None, as by a connection that breaks."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path not in self.server.instead:
            with contextlib.suppress(ConnectionError):
                super().do_GET()
            return
        status, body = self.server.instead[self.path]
        self.send_response(status or 200)
        self.send_header("Content-Type", self.guess_type(self.path))
        self.send_header("Content-Length", str(len(body) if status else 2 * len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def end_headers(self):
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Folder, directory=folder))
    server.asked, server.instead = [], {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


# ---- the browser --------------------------------------------------------------------------------------------------------


class Browser:
    """A browser with one page, which answers JavaScript expressions."""

    def __init__(self, stack, program, profile, *options):
        requests, answers = os.pipe(), os.pipe()

        def wire():  # the browser reads descriptor 3 and writes descriptor 4
            read, write = os.dup(requests[0]), os.dup(answers[1])
            os.dup2(read, 3), os.dup2(write, 4)

        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--window-size=900,900",
             f"--user-data-dir={profile}", "--remote-debugging-pipe", *options, "about:blank"],
            close_fds=False, preexec_fn=wire, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        os.close(requests[0]), os.close(answers[1])
        self.requests, self.answers = os.fdopen(requests[1], "wb"), os.fdopen(answers[0], "rb")
        self.number, self.session, self.errors = 0, None, []
        stack.callback(self.close)
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Runtime.enable")
        self.ask("Page.enable")

    def message(self):
        text = bytearray()
        while (byte := self.answers.read(1)) != b"\0":
            if not byte:
                self.log.seek(0)
                raise Failed("the browser ended: " + self.log.read().decode(errors="replace")[-2000:])
            text += byte
        return json.loads(text)

    def ask(self, method, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        self.requests.write(json.dumps(request).encode() + b"\0")
        self.requests.flush()
        while True:
            answer = self.message()
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"]["text"])
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise Failed(f"{method}: {answer['error']}")
                return answer["result"]

    def value(self, expression):
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression):
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            if time.monotonic() > end:
                raise Failed(f"never so: {expression}; the page says: {self.value('document.body.innerText')}")
            time.sleep(0.01)

    def go(self, address, state):
        """Opens the address; the page is to come to this state."""
        self.value("document.body && (document.body.dataset.state = 'left')")
        self.ask("Page.navigate", url=address)
        self.until("document.body && ['ready', 'failed'].includes(document.body.dataset.state)")
        if self.value("document.body.dataset.state") != state:
            raise Failed(f"the page is not {state}: {self.value('document.body.innerText')}")

    def shot(self, file):
        pathlib.Path(file).write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def close(self):
        self.session = None
        with contextlib.suppress(Failed, OSError):
            self.ask("Browser.close")
        try:
            self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- what the page should do --------------------------------------------------------------------------------------------


def at(name):
    return f"document.getElementById('{name}')"


class Test:
    def __init__(self, browser, server, address):
        self.browser, self.server, self.address, self.passed, self.failed = browser, server, address, 0, 0

    def expect(self, what, good, seen=None):
        self.passed += bool(good)
        self.failed += not good
        if not good:
            print(f"FAILED: {what}: {seen if seen is not None else self.browser.value('document.body.innerText')}")

    def press(self, prompt, count, temperature=0, top_k=0, seed=0):
        for name, value in {"prompt": prompt, "count": count, "temperature": temperature, "topK": top_k, "seed": seed}.items():
            self.browser.value(f"{at(name)}.value = {json.dumps(str(value))}")
        self.browser.value(f"{at('write')}.click()")

    def write(self, *how, **more):
        """The text and the status at the end."""
        self.press(*how, **more)
        self.browser.until("document.body.dataset.state == 'ready'")
        return self.text(), self.browser.value(f"{at('status')}.textContent")

    def text(self):
        return self.browser.value(f"{at('text')}.textContent")


def writes(t, attar):
    """The texts are those of `attar generate`."""
    with open("models/austen/greedy.json", encoding="utf-8") as file:
        greedy = json.load(file)

    def native(prompt, count, temperature=0, top_k=0, seed=0):
        options = ["--temperature", str(temperature), "--seed", str(seed)] + (["--top-k", str(top_k)] if top_k else [])
        run = subprocess.run([attar, "generate", "models/llama.attar", "--weights", "models/austen", "--prompt", prompt, "--steps",
                              str(count), *options], capture_output=True, check=True)
        return run.stdout[:-1].decode(errors="replace")

    t.browser.value(f"pieces = 0; new MutationObserver((seen) => pieces += seen.length).observe({at('text')}.lastChild, {{characterData: true}})")
    text, status = t.write(greedy["prompt"], greedy["steps"])
    t.expect("the greedy text", text == greedy["text"])
    t.expect("the greedy text of attar generate", native(greedy["prompt"], greedy["steps"]) == text, native(greedy["prompt"], greedy["steps"]))
    t.expect("a piece of text a token", t.browser.value("pieces") >= greedy["steps"], t.browser.value("pieces"))
    t.expect("tokens per second", status.startswith("200 tokens, ") and status.endswith(" tokens per second; done"))
    print(f"{text}\n{status}")
    # Seeds of which no draw is within 4e-4 of where another token would be drawn, far from what rounding moves.
    for how in ({"temperature": 0.8, "top_k": 20, "seed": 13}, {"temperature": 1, "top_k": 2, "seed": 15}, {"temperature": 0.5, "seed": 8}):
        text, _ = t.write("It is a truth", 300, **how)
        t.expect(f"the text of attar generate with {how}", text == native("It is a truth", 300, **how), f"\n{text}\nnot\n{native('It is a truth', 300, **how)}")
    text, _ = t.write("Élise said, “", 40)
    t.expect("a prompt of more than ASCII", text == native("Élise said, “", 40))
    text, status = t.write("A" * 500, 100)
    t.expect("a full cache", status.endswith("; the cache is full: this model holds 512 positions"))
    t.expect("all that the cache holds", text == native("A" * 500, 100) and len(text) == 513)
    text, _ = t.write(greedy["prompt"], greedy["steps"])
    t.expect("the greedy text once more", text == greedy["text"])


def answers(t):
    """While it writes, the page is used; what cannot be done is said."""
    for _ in range(5):  # on a very busy machine all may have been written before the page comes to press the button
        t.browser.value(f"new MutationObserver((_, it) => (it.disconnect(), {at('stop')}.click())).observe({at('text')}.lastChild, {{characterData: true}})")
        text, status = t.write("She ", 490, temperature=1)
        if not status.endswith("; done"):
            break
    t.expect("stopped", status.endswith("; stopped") and 5 <= len(text) < 490)
    _, status = t.write("é" * 300, 10)
    t.expect("a prompt that is too long", status == "the text to continue has 600 bytes, and this model holds 512")
    t.press("", 10)
    t.expect("no prompt", t.browser.value("document.body.dataset.state == 'ready'"))
    text, status = t.write("It is", 1)
    t.expect("one token", len(text) == 6 and status == "1 tokens; done")


def ends(t):
    """A token that ends a text is config.json's."""
    with open("models/austen/config.json", encoding="utf-8") as file:
        config = json.load(file)
    t.server.instead = {"/config.json": (200, json.dumps(config | {"eos_token_id": [0, ord("\n")]}).encode())}
    t.browser.go(t.address, "ready")
    text, status = t.write("It is a truth", 200)
    t.expect("the end of a line", text == "It is a truth to be so much as they can be allowed to be as" and status.endswith("; the model ended its text"))


def refuses(t, folder, other):
    """Whatever is wrong with the files is said."""
    weights = (folder / "model.weights").read_bytes()
    for why, instead in (
        ("model.weights: 404 Not Found", {"/model.weights": (404, b"")}),
        ("model.weights: these weights are of another model, of another version or for other processors", {"/model.weights": (200, other)}),
        ("model.weights: the weights end too early", {"/model.weights": (200, weights[:100000])}),
        ("model.weights: the weights are not what was written", {"/model.weights": (200, weights[:-1] + bytes([weights[-1] ^ 1]))}),
        ("model.weights: this is no file of weights", {"/model.weights": (200, b"<!doctype html>" + bytes(10000))}),
        ("model.weights: network error", {"/model.weights": (None, weights[:100000])}),
        ("model.wasm: WebAssembly.instantiate(): expected magic word", {"/model.wasm": (200, b"<!doctype html>")}),
        ("config.json: Unexpected token", {"/config.json": (200, b"<!doctype html>")}),
        ("config.json: the tokens of this model are not the bytes of text", {"/config.json": (200, b'{"vocab_size": 256}')}),
        ("worker.js or sample.js could not be loaded", {"/worker.js": (404, b"")}),
        ("worker.js or sample.js could not be loaded", {"/sample.js": (404, b"")}),
    ):
        t.server.instead = instead
        t.browser.go(t.address, "failed")
        t.expect(why, t.browser.value(f"{at('error')}.innerText").startswith(why) and t.browser.value(f"{at('write')}.disabled"))
    t.browser.go((folder / "index.html").as_uri(), "failed")
    t.expect("opened as a file", "has to come from a web server" in t.browser.value(f"{at('error')}.innerText"))


def main():
    attar, *more = sys.argv[1:]
    program = os.environ.get("CHROMIUM", "chromium")
    for tool in program, os.environ.get("CLANG", "clang-19"), "wasm-ld-19", "make":
        if not shutil.which(tool):
            print(f"skipped: the page: {tool} is not installed; sh scripts/cross-tools.sh chromium installs what is missing")
            return 77
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        folder = work / "page"
        print(subprocess.run(["sh", "examples/web/build.sh", folder], env=os.environ | {"ATTAR": attar}, stdout=subprocess.PIPE, check=True,
                             text=True).stdout.replace(f"{work}/", ""), end="")
        subprocess.run([attar, "build", "models/llama.attar", "--weights", "tests/golden/llama", "--target", "wasm32", "-o", work / "other"],
                       check=True, stdout=subprocess.DEVNULL)
        server, address = stack.enter_context(served(folder))
        browser = Browser(stack, program, work / "profile")
        t = Test(browser, server, address)
        browser.go(address, "ready")
        t.expect("it asks for its own files alone", set(server.asked) == FILES, server.asked)
        writes(t, attar)
        answers(t)
        if more[:1] == ["--shot"]:
            t.write("It is a truth", 400, temperature=0.8, top_k=40, seed=1)
            browser.shot(more[1])
        ends(t)
        refuses(t, folder, (work / "other" / "llama.weights").read_bytes())
        server.instead = {}
        old = Browser(stack, program, work / "old", "--js-flags=--no-enable-sse4-1")  # a processor without what SIMD128 needs
        t.browser = old
        old.go(address, "failed")
        t.expect("no SIMD", "has no WebAssembly SIMD" in old.value(f"{at('error')}.innerText"))
        t.expect("no errors of the page's own", not browser.errors and not old.errors, browser.errors + old.errors)
    print(f"{t.passed} passed, {t.failed} failed")
    return t.failed != 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        print(f"FAILED: {error}")
        sys.exit(1)
