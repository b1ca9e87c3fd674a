import torch
from torch.nn.functional import interpolate


def grad_cam(net, layer, image, label):
    kept = []
    handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = net(image)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, label], kept[0])
    weights = gradient.mean((2, 3), keepdim=True)
    small = (weights * kept[0]).sum(1, keepdim=True).relu()
    large = interpolate(small, size=image.shape[2:], mode="bilinear")[0, 0]
    return (large / large.max().clamp_min(1e-8)).detach()
