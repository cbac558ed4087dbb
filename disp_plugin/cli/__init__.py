"""From a command line to a run: options checked, sizes chosen, errors in the user's words."""

from disp_plugin.upstream import patch_config_reading

patch_config_reading()  # before anything of the host is imported
