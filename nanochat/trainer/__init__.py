"""How a model is trained: the LightningModule, its callbacks and the device it runs on."""
