"""`make up`: Waypost on a kind cluster of this machine, with a simulated Meta, until the bot has answered a message.

What it runs on is made as `create.py` says.
"""

from tools.cluster import create, hello, release
from tools.machine import KUBECONFIG, REPOSITORY, StepFailed, alone, fail, run, step, works

TEAM = "team-a"
"""Namespace of examples/."""
READY_WITHIN_S = 120


def main() -> None:
    """See the module's text."""
    try:
        alone()
        offline = create.ensure()
        release.load_images(offline=offline)
        release.collector(offline=offline)
        step("installing the chart")
        release.install(release.values(offline=offline))
        apply_examples()
        hello.say()
        print(f"\nexport KUBECONFIG={KUBECONFIG}   # then: kubectl get whatsappnumbers --all-namespaces")
        print("make down removes it all.")
        step("up")
    except StepFailed as failure:
        fail(str(failure))


def apply_examples() -> None:
    """What a product team would do."""
    step("applying examples/ and waiting until the number is ready")
    if not works("kubectl", "get", "namespace", TEAM):
        run("kubectl", "create", "namespace", TEAM)
    run("kubectl", "apply", "--filename", REPOSITORY / "examples")
    run("kubectl", "--namespace", TEAM, "wait", "--for=condition=Ready", "whatsappnumber", "--all",
        f"--timeout={READY_WITHIN_S}s")  # fmt: skip
    print(run("kubectl", "--namespace", TEAM, "get", "whatsapp"))


if __name__ == "__main__":
    main()
