# A slow link to whatever is run: slowpipe.py [--back] BYTES_A_SECOND COMMAND...
# With --back it is what comes back that is slow.
import os, subprocess, sys, time

args = sys.argv[1:]
back = args[0] == "--back" and bool(args.pop(0))
rate, command = float(args[0]), args[1:]
if back:
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    source, target = child.stdout.fileno(), 1
else:
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    source, target = 0, child.stdin.fileno()
while True:
    data = os.read(source, 16384)
    if not data:
        break
    time.sleep(len(data) / rate)
    try:
        os.write(target, data)
    except BrokenPipeError:
        break
os.close(target)
child.wait()
