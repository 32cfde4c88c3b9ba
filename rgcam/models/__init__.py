"""What is explained: classifiers, backbones, the cut, weight files and the model zoo.

``cut``               what a model must offer to be explained; features by chunks
``classifiers``       ``FrameCNN`` and ``LRCN``
``heads``             the first linear map above a feature map
``recurrent``         LSTM and GRU, divided into input product and recurrence
``backbones``         the small CNN, and what all backbones share
``efficientnet``      EfficientNet-Lite0 to 2
``resnet``            ResNet-18, 34 and 50
``preprocessing``     video frames -> a model's input
``torch_files``       PyTorch and safetensors weight files, without PyTorch
``checkpoint_files``  a run's Orbax checkpoints: opened, ranked and read
``zoo``               trained models by name or folder
"""
