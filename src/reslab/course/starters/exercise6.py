import torch


def grad_cam(net, layer, image, label):
    """Grad-CAM of `net` for class `label`: image (1, 3, H, W) -> map (H, W), from 0 to 1"""
    kept = []
    layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = net(image)  # (1, num_classes)
    activation = kept[0]  # (1, C, h, w)
    (gradient,) = torch.autograd.grad(logits[0, label], activation)  # (1, C, h, w)
    return (gradient * activation).sum(1)[0].detach()  # (h, w): not Grad-CAM yet
