#include <bincompress.h>

typedef bc_error used;
