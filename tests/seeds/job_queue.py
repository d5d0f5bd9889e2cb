"""The third seed's configuration, and programs for its command workers."""

import json
from pathlib import Path

from tests.seeds.job_queue_tasks import HERE
from tests.seeds.jqs_tasks import PLAY

# Gives back what it was given, as part of its result.
SHELL = """#!/bin/sh
read -r task
echo "working on it" >&2
printf '{"given": %s, "by": "sh"}\\n' "$task"
"""
NODE = """
let text = '';
process.stdin.on('data', part => text += part);
process.stdin.on('end', () => {
    const task = JSON.parse(text);
    console.error('attempt ' + task.attempt);
    console.log(JSON.stringify({given: task, by: 'node'}));
});
"""
JAVA = """
public class Work {
    public static void main(String[] arguments) throws Exception {
        String task = new String(System.in.readAllBytes(), "UTF-8");
        System.err.println("working on it");
        System.out.println("{\\"given\\": " + task + ", \\"by\\": \\"java\\"}");
    }
}
"""


def configuration(folder: Path) -> str:
    """Write the programs into the folder, and return a configuration that uses them."""
    programs = {"work.sh": SHELL, "work.js": NODE, "Work.java": JAVA}
    for name, text in programs.items():
        (folder / name).write_text(text)
    script = folder / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    sh, js, java = (json.dumps(str(folder / name)) for name in programs)
    return f"""
[queues.ds]
worker = "{PLAY}"
concurrency = 2
priority = 5
poll_interval = "1h"
backoff = {{ strategy = "linear", base = "30ms", cap = "50ms" }}

[queues.single]
worker = "{PLAY}"
concurrency = 1

[queues.report]
worker = "{HERE}:Report"
max_retries = 9
[queues.launch]
worker = "{HERE}:Launch"
concurrency = 1
max_retries = 0
poll_interval = "100ms"
[queues.tell]
worker = "{HERE}:tell"

[queues.never]
worker = "{PLAY}"
backoff = {{ preset = "none" }}
[queues.linear]
worker = "{PLAY}"
backoff = {{ preset = "linear" }}
[queues.exponential]
worker = "{PLAY}"
backoff = {{ preset = "exponential", cap = "20s" }}

[queues.command]
command = ["sh", {sh}]
max_retries = 0
timeout = "20s"
[queues.command.types]
fails = ["sh", "-c", "echo too bad >&2; echo '[1]'; exit 3"]
text = ["echo", "no JSON"]
flood = ["sh", "-c", "yes"]
signal = ["sh", "-c", "kill -TERM $$"]
deaf = ["sh", "-c", "exec <&-; echo 1"]
silent = ["true"]
script = [{json.dumps(str(script))}]
hangs = ["sh", "-c", "echo began >&2; sleep 1000 & setsid sleep 1001; true"]
node = ["node", {js}]
java = ["java", {java}]
[queues.missing]
command = ["/no/such/program"]
"""
