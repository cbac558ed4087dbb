"""DISP-StyleGAN2 on Panda-100 at 256 px, fine-tuned from FFHQ."""

_base_ = [
    '_base_/models/disp_stylegan2_256.py',
    '_base_/datasets/paper.py',
    '_base_/priors/vgg16_fc7.py',
    '_base_/schedules/stylegan2.py',
    '_base_/techniques/transfer_stylegan2.py',
]

model = dict(prior_dim=4096, pretrained=_base_.transfer_stylegan2.model.pretrained)

train_dataloader = dict(
    batch_size=16,  # not stated in the paper
    num_workers=0,  # 100 images, kept in memory
    dataset=dict(data_root='data/panda', image_size=256))

train_cfg = dict(max_iters=20000)  # not stated in the paper
