"""The usual tutorial, as its readers have it: cats and dogs, torchvision, hiddenlayer. Its bugs are its own.

Only the three imports of the network, History and Canvas are changed.
"""

# ruff: noqa: B007
import sys

import torch
import torch.nn as nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from tqdm import tqdm

import reslab as hl  # import hiddenlayer as hl
from reslab import resnet18  # from torchvision.models import resnet18

data_dir = sys.argv[1]
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# 数据预处理 (preprocessing)
train_transforms = transforms.Compose(
    [
        transforms.RandomResizedCrop(32),  # 512 there
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)
val_transforms = train_transforms  # a bug of the tutorial: validation is augmented

train_data = ImageFolder(data_dir + "/train", transform=train_transforms)
val_data = ImageFolder(data_dir + "/test", transform=val_transforms)
train_loader = DataLoader(train_data, batch_size=8, shuffle=True, num_workers=0)
val_loader = DataLoader(val_data, batch_size=8, shuffle=False, num_workers=0)

for step, (b_x, b_y) in enumerate(train_loader):
    if step > 0:
        break
print(b_x.shape, b_y.shape)
print(b_y)

net = resnet18(num_classes=2).to(device)
optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
loss_func = nn.CrossEntropyLoss()

history1 = hl.History()
canvas1 = hl.Canvas()

train_num = 0  # a bug of the tutorial: never reset, so that the mean of every later epoch is too small
val_num = 0
for epoch in range(2):
    train_loss_epoch = 0
    val_loss_epoch = 0
    val_corrects = 0
    net.train()
    for b_x, b_y in tqdm(train_loader):
        b_x, b_y = b_x.to(device), b_y.to(device)
        output = net(b_x)
        loss = loss_func(output, b_y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        train_loss_epoch += loss.item() * b_x.size(0)
        train_num = train_num + b_x.size(0)
    train_loss = train_loss_epoch / train_num
    net.eval()
    for b_x, b_y in tqdm(val_loader):  # a bug of the tutorial: gradients are kept
        b_x, b_y = b_x.to(device), b_y.to(device)
        output = net(b_x)
        loss = loss_func(output, b_y)
        pre_lab = torch.argmax(output, 1)
        val_loss_epoch += loss.item() * b_x.size(0)
        val_corrects += torch.sum(pre_lab == b_y.data)
        val_num = val_num + b_x.size(0)
    val_loss = val_loss_epoch / val_num
    val_acc = val_corrects.double() / val_num
    history1.log(epoch, train_loss=train_loss, val_loss=val_loss, val_acc=val_acc.item())
    with canvas1:
        canvas1.draw_plot([history1["train_loss"], history1["val_loss"]])
        canvas1.draw_plot([history1["val_acc"]])

print("train_loss", [round(float(value), 4) for value in history1["train_loss"].data])
torch.save(net, "resnet18.pkl")
