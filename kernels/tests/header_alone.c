#include <bincompress.h>
#include <bincompress_train.h>

typedef bc_error used;
typedef bc_conv used_too;
