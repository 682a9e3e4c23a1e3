# SPDX-License-Identifier: MIT
# Makes the public header of the library's own ones. Inside, names are short, as all of this is caboose;
# outside, others have images, plans and devices too, so that everything begins with caboose_ or CABOOSE_. The
# library's symbols are renamed likewise, by objcopy.
/^#include "/d

# struct plan, enum transfer_error
s/\<(struct|enum) ([a-z])/\1 caboose_\2/g
# PLAN_ANY_ALT, and the guards
s/\<[A-Z][A-Z0-9]*_[A-Z0-9_]+/CABOOSE_&/g
# plan_free(), where it is declared and where it is spoken of
s/\<(device|image|memory_map|plan|transfer)_[a-z0-9_]+\(/caboose_&/g

s/\<(caboose_|CABOOSE_)(caboose_|CABOOSE_)/\2/g
