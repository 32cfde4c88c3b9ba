"""Every field of an experiment and its default: ``rgcam train --help`` lists them."""

from ml_collections import config_dict

from rgcam.training import config as experiments


def get_config() -> config_dict.ConfigDict:
    """Return the fields that every experiment has."""
    return experiments.base_config()
