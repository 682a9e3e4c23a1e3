# Blue Pill with all of AN3156 and driverless Windows: a page of 1 KB more.
bluepill-full.CHOICES := -DHSE_MHZ=8 -DPROPER_KB=4
