"""AugSelf: the parameters told, the loss in float64, whom it teaches, and zero weight."""

import copy

import pytest
import torch

from disp_plugin.techniques import AugSelfLoss, DiffAugment
from disp_plugin.techniques.aug_self import read_parameters
from tests.gans import ALL, assert_same_steps, make_gan, train_gan

POLICY = 'color,translation,cutout'
AUGSELF = dict(
    discriminator=dict(
        type='AugSelfDiscriminator', augmentation=dict(type='DiffAugment', policy=POLICY)
    ),
    disc_losses=dict(augself=dict(type='AugSelfLoss', network='disc')),
    gen_losses=dict(augself=dict(type='AugSelfLoss', network='gen')),
)


def test_parameters_are_what_was_done_to_the_pixels():
    augmentation = DiffAugment('translation,cutout,flip')
    colors = DiffAugment('color')
    draws = colors.draw(torch.empty(5, 3, 8, 8))
    assert torch.equal(read_parameters(colors, draws, torch.Size((8, 8))), draws)
    img = torch.rand(64, 1, 16, 12) + 1  # no pixel is zero but those that come in
    draws = augmentation.draw(img)
    found = read_parameters(augmentation, draws, img.shape[2:])
    assert found.min() >= 0 and found.max() <= 1
    # one operation at a time: where the image's parts went
    for row in range(64):
        part = draws[row : row + 1]
        one = img[row : row + 1]
        moved = DiffAugment('translation').transform(one, part[:, :2])[0, 0]
        # translations in [-2, 2] along both sides: as many empty rows and columns come in
        for dim, value in ((1, found[row, 0]), (0, found[row, 1])):
            empty = (moved == 0).all(dim)
            shift = int(empty.sum()) * (1 if empty[-1] else -1)
            assert value == pytest.approx((shift + 2) / 4)
        cut = DiffAugment('cutout').transform(one, part[:, 2:4])[0, 0] == 0
        for dim, side, value in ((1, 16, found[row, 2]), (0, 12, found[row, 3])):
            places = cut.any(dim).nonzero().flatten()
            first = (
                round(float(value) * side) - side // 4
            )  # an even cutout: 0 to side are its centers
            expected = range(max(first, 0), min(first + side // 2, side))
            assert places.tolist() == list(expected)
        flipped = DiffAugment('flip').transform(one, part[:, 4:])
        assert torch.equal(flipped, one.flip(3) if found[row, 4] else one)


@pytest.mark.parametrize('network', ['disc', 'gen'])
def test_the_loss_is_its_formula(network):
    gan = make_gan('sngan', **AUGSELF).double().eval()
    disc, (fake, real) = gan.discriminator, torch.rand(2, 4, 3, 32, 32).double()
    outputs = dict(disc=disc, fake_imgs=fake, real_imgs=real, step=0)
    torch.manual_seed(5)
    found = AugSelfLoss(network)(outputs)
    torch.manual_seed(5)
    head, expected, largest = disc.augmentation_head[0], 0.0, 0.0
    # fake images: D is taught -w, G w and away from -w
    signs = [(fake, {-1: 1.0}), (real, {1: 1.0})]
    if network == 'gen':
        signs = [(fake, {1: 1.0, -1: -1.0})]
    for img, weights in signs:
        draws = disc.augmentation.draw(img)
        seen = disc.augmentation.transform(img, draws)
        difference = disc.extract_features(seen) - disc.extract_features(img)
        told = difference @ head.weight.T + head.bias
        wanted = read_parameters(disc.augmentation, draws, img.shape[2:])
        for sign, weight in weights.items():
            squares = (told - sign * wanted) ** 2
            largest = max(largest, squares.max().item())
            for columns in ([0, 1, 2], [3, 4], [5, 6]):
                expected = expected + weight * squares[:, columns].sum() / (4 * len(columns))
    # G's is a difference of such squares
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * largest)


@pytest.mark.parametrize('name', ALL)
def test_every_gan_takes_it_and_both_networks_learn(name):
    gan = make_gan(name, **AUGSELF)
    before = copy.deepcopy(gan.state_dict())
    logs = train_gan(gan, 2)
    assert {'loss_augself_disc', 'loss_augself_gen'} <= set(logs[1])
    assert all(value.isfinite() for log in logs for value in log.values())
    head = [key for key in before if 'augmentation_head' in key and 'weight' in key]
    assert head and any(not torch.equal(gan.state_dict()[key], before[key]) for key in head)


def test_without_weight_the_step_is_that_of_diffaugment():
    weightless = copy.deepcopy(AUGSELF)
    for part in ('disc_losses', 'gen_losses'):
        weightless[part]['augself']['loss_weight'] = 0.0
    plain = make_gan('sngan', discriminator=dict(augmentation=dict(type='DiffAugment')))
    ours = make_gan('sngan', **weightless)
    assert_same_steps(plain, ours)


def test_wrong_parts_are_refused():
    with pytest.raises(ValueError, match="network of AugSelfLoss is 'both'"):
        AugSelfLoss('both')
    with pytest.raises(ValueError, match="tells the parameters of dict\\(type='DiffAugment'\\)"):
        make_gan('sngan', discriminator=dict(type='AugSelfDiscriminator'))
    gan = make_gan('sngan', disc_losses=AUGSELF['disc_losses'])
    with pytest.raises(ValueError, match='needs an AugSelfDiscriminator'):
        train_gan(gan)
