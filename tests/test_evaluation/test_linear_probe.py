"""The probe against folds fitted one by one, and labels from names and tables."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from disp_plugin.evaluation.linear_probe import image_labels, linear_probe


@pytest.fixture(scope='module')
def digits():
    digits = load_digits()
    return digits.data[:300], [str(digit) for digit in digits.target[:300]]


def test_accuracy_is_that_of_folds_fitted_by_hand(digits):
    features, labels = digits
    found = linear_probe(features, labels, num_folds=3, seed=4)
    labels = np.array(labels)
    scores, majority = [], []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=4).split(features, labels):
        mean, std = features[train].mean(0), features[train].std(0)
        std[std == 0] = 1
        model = LogisticRegression(max_iter=1000).fit((features[train] - mean) / std, labels[train])
        told = model.predict((features[test] - mean) / std)
        scores.append((told == labels[test]).mean())
        names, counts = np.unique(labels[train], return_counts=True)
        majority.append((labels[test] == names[counts.argmax()]).mean())
    assert np.isclose(found.accuracy, np.mean(scores))
    assert np.isclose(found.standard_deviation, np.std(scores, ddof=1))
    assert np.isclose(found.majority, np.mean(majority))
    assert found[3:] == (300, 10, 3)
    assert found.accuracy > 0.9 and found.majority < 0.15


def test_features_that_know_nothing_do_no_better_than_chance(rng):
    labels = ['a', 'b'] * 100
    found = [linear_probe(rng(seed).normal(size=(200, 3)), labels).accuracy for seed in range(12)]
    # the standard error of a mean of 2400 guesses is 0.01; those of a fold share their classifier
    assert abs(np.mean(found) - 0.5) < 0.06


def test_the_scale_of_a_feature_does_not_matter(digits):
    features, labels = digits
    scaled = features * np.geomspace(1e-3, 1e3, features.shape[1])
    found, other = (linear_probe(x, labels, num_folds=2) for x in (features, scaled))
    assert abs(found.accuracy - other.accuracy) < 0.01


def test_a_small_class_has_fewer_folds():
    features, labels = np.arange(10.0)[:, None], ['a'] * 7 + ['b'] * 3
    assert linear_probe(features, labels).num_folds == 3


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (['a'] * 4, 'all 4 images are of 1 class: a'),
        (['a', 'a', 'a', 'b'], "class 'b' has a single image"),
        (['a', 'b'], '2 labels for 4 images'),
    ],
)
def test_what_cannot_be_probed_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        linear_probe(np.eye(4), labels)


def test_labels_are_folders_or_prefixes():
    assert image_labels(['a/x.png', 'b/y_1.png', 'c/b/z.png']) == ['a', 'b', 'b']
    assert image_labels(['train/5_0012.png', 'train/6_1_2.png']) == ['5', '6']
    assert image_labels(['a/5_1.png', 'b/5_2.png'], 'prefix') == ['5', '5']
    assert image_labels(['a/5_1.png', 'a/6_2.png'], 'folder') == ['a', 'a']


def test_labels_come_from_a_table(tmp_path):
    table = tmp_path / 'labels.csv'
    lines = 'b.png, dog\n"a,1.png",cat\n\nunused.png,bird\n'
    table.write_text(lines, encoding='utf-8-sig')  # as spreadsheets write it
    assert image_labels(['a,1.png', 'b.png'], table) == ['cat', 'dog']
    table.write_text('cats\\1.png,cat\r\n')
    assert image_labels(['cats/1.png'], table) == ['cat']
    table.write_text(lines)
    with pytest.raises(ValueError, match=r"no label for 1 of 2 images, such as 'c\.png'"):
        image_labels(['b.png', 'c.png'], table)
    table.write_text('b.png\n')
    with pytest.raises(ValueError, match="is 'b.png', but should be an image key and its"):
        image_labels(['b.png'], table)
    with pytest.raises(FileNotFoundError, match="labels come from 'folder', 'prefix' or a CSV"):
        image_labels(['b.png'], 'prefixes')


@pytest.mark.parametrize(
    ('key', 'source', 'message'),
    [('x.png', 'folder', 'lies in no folder'), ('5.png', None, "'5.png' has no '_'")],
)
def test_an_image_without_a_class_is_named(key, source, message):
    with pytest.raises(ValueError, match=message):
        image_labels([key], source)
