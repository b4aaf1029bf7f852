/*!
 * The interleaved group convolution as plain C functions on raw memory: a group convolution of any
 * kernel, the permutation of `reorder.h`, a 1x1 group convolution, and the permutation once more.
 * Nothing here knows MXNet, so that the kernels can be built, tested and used without it.
 *
 *   primary    = convolution of data with primary_weight in L groups, no bias
 *   mixed      = primary with its channels permuted, branch factor L
 *   secondary  = 1x1 convolution of mixed with secondary_weight in M groups, no bias
 *   out        = secondary with its channels permuted, branch factor M
 *
 * L and M need not multiply to the number of filters; the two permutations then are not inverse to
 * each other. All arrays are dense and row-major:
 *
 *   data              (batch, channels, height, width)
 *   primary_weight    (filters, channels / L, kernel height, kernel width)
 *   secondary_weight  (filters, filters / M)
 *   out               (batch, filters, out height, out width)
 */
#ifndef IGC_OPERATOR_IGCONV_H_
#define IGC_OPERATOR_IGCONV_H_

#include <cstdint>

#include "reorder.h"

extern "C" {

/*! The sizes of one call. Pairs are height, width. */
typedef struct {
  int64_t batch, channels, height, width;
  int64_t filters;
  int64_t kernel[2], stride[2], pad[2];
  int64_t primary_partition;    // L, divides channels and filters
  int64_t secondary_partition;  // M, divides filters
} igc_igconv_sizes;

/*!
 * Compute `out`.
 *
 * item_bytes  the size of one element: 2 (float16, computed in float32), 4 (float32), 8 (float64).
 *             It is that of all arrays.
 *
 * Every element is summed in one fixed order: the result is the same, bit for bit, for any number
 * of OpenMP threads.
 *
 * Returns NULL, or a text that says what is wrong. The text lives as long as the library.
 */
const char* igc_igconv_forward_cpu(const igc_igconv_sizes* sizes, int item_bytes, const void* data,
                                   const void* primary_weight, const void* secondary_weight,
                                   void* out);

/*!
 * Compute the gradients from that of `out`. Each gradient may be NULL: it is then not computed.
 * float32 and float64 only. As to threads, the same holds as for the forward pass. Between the
 * rows of an image zeros are multiplied with data, so that a weight gradient may be NaN where data
 * is not finite.
 */
const char* igc_igconv_backward_cpu(const igc_igconv_sizes* sizes, int item_bytes,
                                    const void* out_gradient, const void* data,
                                    const void* primary_weight, const void* secondary_weight,
                                    void* data_gradient, void* primary_gradient,
                                    void* secondary_gradient);

/*!
 * The number types on a GPU, by MXNet's numbers. 16 bits are summed up in float32. Where groups are
 * wide, float32 is computed by the matrix units, as exactly, but infinity may come out as NaN;
 * IGC_FLOAT32=plain in the environment leaves them out.
 */
enum { IGC_FLOAT32 = 0, IGC_FLOAT64 = 1, IGC_FLOAT16 = 2, IGC_BFLOAT16 = 12 };

/*!
 * The same on a GPU: all arrays, of one type, and the workspace are memory of `device`, `stream`
 * is a cudaStream_t of it. They return once the kernels are launched. Present only in a library
 * built with CUDA. Every element is summed in one fixed order, which depends on the sizes and, for
 * weight gradients, on how many images the workspace holds.
 *
 * The workspace has at least the bytes that `igc_igconv_workspace_cuda` gives for one image at a
 * time; as many images at a time are done as it holds. That function gives -1 where sizes or type are
 * wrong.
 */
int64_t igc_igconv_workspace_cuda(const igc_igconv_sizes* sizes, int type, int backward,
                                  int64_t images);

const char* igc_igconv_forward_cuda(const igc_igconv_sizes* sizes, int type, const void* data,
                                    const void* primary_weight, const void* secondary_weight,
                                    void* out, void* workspace, int64_t workspace_bytes,
                                    int device, void* stream);

const char* igc_igconv_backward_cuda(const igc_igconv_sizes* sizes, int type,
                                     const void* out_gradient, const void* data,
                                     const void* primary_weight, const void* secondary_weight,
                                     void* data_gradient, void* primary_gradient,
                                     void* secondary_gradient, void* workspace,
                                     int64_t workspace_bytes, int device, void* stream);

enum { IGC_NO_ACTIVATION = 0, IGC_RELU = 1, IGC_RELU6 = 2 };

/*!
 * A block for inference, on a GPU: batch normalisation folded into weights and biases. The number
 * of channels may change at both convolutions:
 *
 *   mixed = permuted(primary_activation(convolution of data + primary_bias))
 *   out   = activation(permuted(1x1 convolution of mixed) + bias + residual)
 *
 * Both halves of an IGCV3 block are such: the expansion has no primary convolution, the second
 * half a channel-wise one and no permutation behind it.
 */
typedef struct {
  igc_igconv_sizes sizes;   // `filters` are those of the output
  int32_t primary;          // 0: data are mixed as they are; what tells of the primary is not read
  int32_t permute;          // 0: no permutation behind the second convolution
  int64_t primary_filters;  // the primary convolution's output channels
  int32_t primary_activation, activation;
} igc_block;

/*! Each may be NULL. Biases, in the order of the channels there, are float32 for 16 bits. */
typedef struct {
  const void *primary_bias, *bias, *residual;
} igc_finish;

int64_t igc_block_workspace_cuda(const igc_block* block, int type, int64_t images);

const char* igc_block_infer_cuda(const igc_block* block, int type, const void* data,
                                 const void* primary_weight, const void* secondary_weight,
                                 const igc_finish* finish, void* out, void* workspace,
                                 int64_t workspace_bytes, int device, void* stream);

/*! The sizes of a plain group convolution. Pairs are height, width. */
typedef struct {
  int64_t batch, channels, height, width;
  int64_t filters;
  int64_t kernel[2], stride[2], pad[2];
  int64_t groups;   // divides channels and filters
  int32_t permute;  // not 0: permute the output, branch factor `groups`; behind a 1x1 one alone
} igc_group_conv_sizes;

/*!
 * A group convolution alone, on a GPU, without a bias: the halves of the above, for networks whose
 * convolutions do not make up a block, in training. 1x1 at stride 1 without padding is computed as
 * the secondary convolution is, all else as the primary one. Each gradient may be NULL. The
 * workspace does not grow with the images, so that all are computed at a time; else what holds
 * above holds here.
 */
int64_t igc_group_conv_workspace_cuda(const igc_group_conv_sizes* sizes, int type, int backward);

const char* igc_group_conv_forward_cuda(const igc_group_conv_sizes* sizes, int type,
                                        const void* data, const void* weight, void* out,
                                        void* workspace, int64_t workspace_bytes, int device,
                                        void* stream);

const char* igc_group_conv_backward_cuda(const igc_group_conv_sizes* sizes, int type,
                                         const void* out_gradient, const void* data,
                                         const void* weight, void* data_gradient,
                                         void* weight_gradient, void* workspace,
                                         int64_t workspace_bytes, int device, void* stream);
}

#endif  // IGC_OPERATOR_IGCONV_H_
