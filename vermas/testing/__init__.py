"""The test kit for plugin authors: a pytest plugin with fixtures (`vermas.testing.plugin`) and one contract suite per kind of plugin.

Installing `vermas` is enough for the fixtures. A contract is a class to subclass in a test file:

    from vermas.testing.session_contract import SessionContract

    class TestMyRuntime(SessionContract):
        plugin = "my-runtime"
"""
