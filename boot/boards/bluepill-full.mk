# Blue Pill whose interface has a GUID on Windows: a page of 1 KB more.
bluepill-full.CHOICES := -DHSE_MHZ=8 -DPROPER_KB=4
