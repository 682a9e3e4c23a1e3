# Blue Pill that obeys Read Unprotect.
unprotect.CHOICES := -DHSE_MHZ=8 -DPROPER_KB=4 -DWITH_UNPROTECT=1
