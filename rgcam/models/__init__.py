"""What is explained: classifiers, backbones, the cut, weight files and the model zoo.

``cut``                  what a model must offer to be explained; features by chunks
``classifiers``          ``FrameCNN`` and ``LRCN``
``layers``               Linen's layers traced faster; the head of each frame, LSTM and GRU
``backbones``            what all backbones have in common, and the small CNN
``efficientnet``         EfficientNet-Lite0 to 2
``resnet``               ResNet-18, 34 and 50
``description``          the fields of model.json: their types and allowed values
``out_of_distribution``  is a clip unlike the training data of a model?
``torch_files``          PyTorch and safetensors weight files, without PyTorch
``checkpoint_files``     a run's Orbax checkpoints: opened, ranked and read
``zoo``                  trained models by name or folder
"""
