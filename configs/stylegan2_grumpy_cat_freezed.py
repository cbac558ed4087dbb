"""Unconditional StyleGAN2 on Grumpy-Cat-100 at 256 px, fine-tuned from FFHQ with FreezeD.

The baseline of disp_stylegan2_grumpy_cat_freezed.py.
"""

_base_ = 'stylegan2_grumpy_cat_unconditional.py'

batch_size = 8  # not stated in the paper

# All but the last three of eight learn nothing, as in FreezeD's own code for StyleGAN
# (--feature_loc 3); not stated in the paper.
model = dict(discriminator=dict(freeze=dict(type='FreezeD', blocks=5)))

train_dataloader = dict(batch_size=batch_size)
