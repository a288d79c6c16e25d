# A slow link to whatever is run: slowpipe.py BYTES_A_SECOND COMMAND...
import os, subprocess, sys, time

rate, command = float(sys.argv[1]), sys.argv[2:]
child = subprocess.Popen(command, stdin=subprocess.PIPE)
while True:
    data = os.read(0, 16384)
    if not data:
        break
    time.sleep(len(data) / rate)
    try:
        os.write(child.stdin.fileno(), data)
    except BrokenPipeError:
        break
child.stdin.close()
child.wait()
