#include "trace/trace-mq_block.h"
