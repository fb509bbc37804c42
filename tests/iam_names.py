"""What IAM calls the calls that the front recorded."""

from ansible_collections.selfhosted.ec2.plugins.module_utils import iam_lint


def action_of(call):
    """The action, lower case, that allows a recorded call such as C(s3.HeadBucket): some have another name in IAM."""
    service, _dot, operation = call.lower().partition(".")
    named = iam_lint.S3_OPERATIONS.get(operation, operation) if service == "s3" else operation
    return f"{service}:{named.lower()}"


def allowed(document):
    """The actions, lower case, that a policy document allows."""
    found = set()
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            actions = statement["Action"]
            found |= {action.lower() for action in ([actions] if isinstance(actions, str) else actions)}
    return found
