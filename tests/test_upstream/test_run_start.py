"""What a run does not need at its start is done when it is needed, with the same result."""

import gc
import sys

import numpy as np
import torchvision
from mmengine.dataset import BaseDataset
from mmengine.utils.dl_utils import collect_env
from mmengine.visualization import Visualizer

import disp_plugin.register  # noqa: F401


def test_a_data_set_does_not_collect_garbage(monkeypatch):
    calls = []
    monkeypatch.setattr(gc, 'collect', calls.append)
    dataset = BaseDataset(lazy_init=True)
    dataset.data_list = [{'img_path': 'a.png'}, {'img_path': 'b.png'}]
    dataset.data_bytes, dataset.data_address = dataset._serialize_data()
    assert calls == []
    dataset._fully_initialized = True
    assert dataset.get_data_info(1)['img_path'] == 'b.png'


def test_a_visualizer_makes_its_figure_when_it_is_drawn_on():
    visualizer = Visualizer(fig_save_cfg=dict(frameon=False, dpi=50))
    assert 'matplotlib' not in str(type(visualizer.fig_save))
    image = np.zeros((20, 30, 3), np.uint8)
    visualizer.set_image(image)
    assert visualizer.dpi == 50
    assert visualizer.ax_save.figure is visualizer.fig_save_canvas.figure
    visualizer.draw_bboxes(np.array([[5, 5, 15, 12]]), edge_colors='w', line_widths=2)
    drawn = visualizer.get_image()
    assert drawn.shape == image.shape
    assert drawn[5, 10].max() > 100 and drawn[9, 10].max() == 0  # an edge, and what is within


def test_the_log_names_torchvision_without_importing_it(monkeypatch):
    monkeypatch.delitem(sys.modules, 'torchvision')
    assert collect_env()['TorchVision'] == torchvision.__version__.partition('+')[0]
    assert 'torchvision' not in sys.modules
