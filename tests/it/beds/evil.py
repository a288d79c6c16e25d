# A host that speaks the protocol and means no good: evil.py HOW COMMAND...
# COMMAND is what git-ci wants to be run on the host; only its nonce is of interest.
import base64, json, re, struct, sys, time

how, command = sys.argv[1], " ".join(sys.argv[2:])
nonce = re.search(r"--nonce ([0-9a-f]+)", command).group(1)
out, inp = sys.stdout.buffer, sys.stdin.buffer


def raw(data):
    out.write(data)
    out.flush()


def say(frame):
    body = json.dumps(frame).encode()
    raw(struct.pack(">I", len(body)) + body)


def hear():
    head = inp.read(4)
    if len(head) < 4:
        sys.exit()
    return json.loads(inp.read(struct.unpack(">I", head)[0]))


def done(run, result, **more):
    say({"frame": "done", "task": run["task"]["task"], "try": run["task"]["try"], "result": result, **more})


def left(run, **part):
    say({"frame": "artifact", "task": run["task"]["task"], "try": run["task"]["try"], "part": part})


raw(b"noise git-ci: noise\n" + f"git-ci:{nonce}:ready\n".encode())
hear()
if how == "silent":
    time.sleep(1000)
ansi = "\x1b[2J\x1b]0;owned\x07"
say({"frame": "hello", "wire": 99 if how == "version" else 3, "about": {
    "version": ansi + "9" * 10000, "platform": ansi, "git": ansi, "free": 1 << 60, "clock": -(1 << 62),
    "have": ["0" * 40] * 5000, "running": []}})
beat = 0
while True:
    beat += 1
    say({"frame": "beat", "beat": beat})
    frame = hear()
    if frame["frame"] != "run":
        time.sleep(0.01)
        continue
    passed = {"outcome": "passed"}
    failed = {"outcome": "failed", "code": 1}
    if how == "garbage":
        raw(b"Segmentation fault\n" * 100)
    elif how == "huge":
        raw(struct.pack(">I", 0xFFFFFFFF) + b"x" * 100)
    elif how == "unknown":
        say({"frame": "write-ref", "ref": "refs/heads/main"})
    elif how == "flood":
        piece = base64.b64encode(b"x" * (1 << 20)).decode()
        for index in range(100):
            say({"frame": "output", "task": frame["task"]["task"], "try": 1, "at": index << 20, "bytes": piece})
    elif how == "files":
        left(frame, part="begin")
        for index in range(100001):
            left(frame, part="file", path=f"f{index}", executable=False)
        done(frame, passed)
    elif how == "repeat":
        for _ in range(2):
            say({"frame": "output", "task": frame["task"]["task"], "try": 1, "at": 0, "bytes": "bGF0ZQo="})
    elif how == "code":
        done(frame, {"outcome": "failed", "code": 0})
    elif how == "huge-code":
        done(frame, {"outcome": "failed", "code": 100000})
    elif how == "cancelled":
        done(frame, {"outcome": "cancelled"})
    elif how == "why":
        done(frame, {"outcome": "errored", "why": "exit:0", "reason": ansi * 10000})
    elif how == "lie":
        # Of other tasks and tries, and then of this one, twice and in the wrong order.
        for other in range(100, 120):
            say({"frame": "done", "task": other, "try": 1, "result": failed})
        say({"frame": "done", "task": frame["task"]["task"], "try": 7, "result": failed})
        left(frame, part="begin")
        for path in ["../planted", "/tmp/planted", "link/planted"]:
            left(frame, part="link", path="link", target="../../..")
            left(frame, part="file", path=path, executable=True)
            left(frame, part="bytes", bytes="bGF0ZQo=")
        done(frame, passed, tree="0" * 40, ref="refs/heads/main", log="../../../HEAD")
        done(frame, failed)
        say({"frame": "started", "task": frame["task"]["task"], "try": 1, "slot": 4294967295})
        say({"frame": "output", "task": frame["task"]["task"], "try": 1, "at": 0, "bytes": "bGF0ZQo="})
    elif how == "starts":
        for _ in range(1000):
            say({"frame": "started", "task": frame["task"]["task"], "try": 1, "slot": 1})
        done(frame, passed)
    elif how == "lie-and-leave":
        done(frame, {"outcome": "failed", "code": 0})
        say({"frame": "failed", "trouble": "other", "reason": "leave"})
        sys.exit()
    elif how == "beats":
        # And reads nothing any more.
        for _ in range(20000):
            beat += 1
            say({"frame": "beat", "beat": beat})
        done(frame, {"outcome": "cancelled"})
        time.sleep(1000)
    elif how == "failed":
        say({"frame": "failed", "trouble": "other", "reason": ansi + "y" * 100000})
