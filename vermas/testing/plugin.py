"""The pytest plugin of VerMAS for plugin authors."""
