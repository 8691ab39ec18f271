"""The plugin that the tests draw their false alarms from; pytest wants it named in the root."""

pytest_plugins = ["privacy.testing.plugin"]
