"""What holds for the tests of all scenarios."""


def pytest_collection_modifyitems(items):
    """A file that names its hosts (testinfra_hosts) is about these alone; by --hosts it would be asked of all."""
    items[:] = [item for item in items if _is_about(item)]


def _is_about(item):
    wanted = getattr(item.module, "testinfra_hosts", None)
    host = item.callspec.params.get("_testinfra_host") if hasattr(item, "callspec") else None
    return not wanted or host is None or host.backend.get_pytest_id() in wanted
