/* SPDX-License-Identifier: MIT */
/*
 * The registers of an STM32F103 that the examples use, by the names of RM0008, as a user's own
 * small header would have them. Addresses and offsets: the chip's SVD.
 */
#ifndef STM32F103_H
#define STM32F103_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

struct rcc_regs {
    volatile uint32_t CR, CFGR, CIR, APB2RSTR, APB1RSTR, AHBENR, APB2ENR, APB1ENR, BDCR, CSR;
};
#define RCC ((struct rcc_regs *)0x40021000)
static_assert(offsetof(struct rcc_regs, CSR) == 0x24, "RCC");

#define RCC_CR_HSEON         (1U << 16)
#define RCC_CR_HSERDY        (1U << 17)
#define RCC_CR_PLLON         (1U << 24)
#define RCC_CR_PLLRDY        (1U << 25)
#define RCC_CFGR_SW_PLL      (2U << 0)
#define RCC_CFGR_SW          (3U << 0)
#define RCC_CFGR_SWS_PLL     (2U << 2)
#define RCC_CFGR_SWS         (3U << 2)
#define RCC_CFGR_PPRE1_DIV2  (4U << 8)
#define RCC_CFGR_PLLSRC_HSE  (1U << 16)
#define RCC_CFGR_PLLMUL_9    (7U << 18)
#define RCC_AHBENR_CRCEN     (1U << 6)
#define RCC_APB2ENR_IOPAEN   (1U << 2)
#define RCC_APB2ENR_IOPCEN   (1U << 4)
#define RCC_APB2ENR_USART1EN (1U << 14)
#define RCC_APB1ENR_TIM2EN   (1U << 0)
#define RCC_APB1ENR_USBEN    (1U << 23)

struct flash_regs {
    volatile uint32_t ACR, KEYR, OPTKEYR, SR, CR, AR, reserved, OBR, WRPR;
};
#define FLASH ((struct flash_regs *)0x40022000)
static_assert(offsetof(struct flash_regs, WRPR) == 0x20, "FLASH");

#define FLASH_ACR_LATENCY_2 (2U << 0)
#define FLASH_ACR_PRFTBE    (1U << 4)

struct gpio_regs {
    volatile uint32_t CRL, CRH, IDR, ODR, BSRR, BRR, LCKR;
};
#define GPIOA ((struct gpio_regs *)0x40010800)
#define GPIOC ((struct gpio_regs *)0x40011000)
static_assert(offsetof(struct gpio_regs, LCKR) == 0x18, "GPIO");

/* One pin's nibble in CRL or CRH: CNF[1:0] MODE[1:0]. */
#define GPIO_INPUT_FLOATING  0x4U
#define GPIO_OUTPUT_2MHZ     0x2U
#define GPIO_ALTERNATE_10MHZ 0x9U

struct usart_regs {
    volatile uint32_t SR, DR, BRR, CR1, CR2, CR3, GTPR;
};
#define USART1 ((struct usart_regs *)0x40013800)
static_assert(offsetof(struct usart_regs, GTPR) == 0x18, "USART");

#define USART_SR_TXE (1U << 7)
#define USART_CR1_TE (1U << 3)
#define USART_CR1_UE (1U << 13)

struct tim_regs {
    volatile uint32_t CR1, CR2, SMCR, DIER, SR, EGR, CCMR1, CCMR2, CCER, CNT, PSC, ARR;
};
#define TIM2 ((struct tim_regs *)0x40000000)
static_assert(offsetof(struct tim_regs, ARR) == 0x2C, "TIM2");

#define TIM_CR1_CEN  (1U << 0)
#define TIM_DIER_UIE (1U << 0)
#define TIM_SR_UIF   (1U << 0) /* rc_w0 */
#define TIM_EGR_UG   (1U << 0)

struct crc_regs {
    volatile uint32_t DR, IDR, CR;
};
#define CRC ((struct crc_regs *)0x40023000)

#define CRC_CR_RESET (1U << 0)

struct usb_regs {
    volatile uint32_t EPR[8], reserved[8], CNTR, ISTR, FNR, DADDR, BTABLE;
};
#define USB ((struct usb_regs *)0x40005C00)
static_assert(offsetof(struct usb_regs, CNTR) == 0x40, "USB");
static_assert(offsetof(struct usb_regs, BTABLE) == 0x50, "USB");

/* 512 bytes of packet memory: each half-word stands in a slot of 32 bits. */
#define USB_PMA ((volatile uint32_t *)0x40006000)

#define USB_CNTR_FRES      (1U << 0)
#define USB_CNTR_PDWN      (1U << 1)
#define USB_CNTR_RESETM    (1U << 10)
#define USB_CNTR_CTRM      (1U << 15)
#define USB_ISTR_EP_ID     0xFU
#define USB_ISTR_RESET     (1U << 10) /* rc_w0 */
#define USB_ISTR_CTR       (1U << 15) /* read-only */
#define USB_DADDR_EF       (1U << 7)
#define USB_EP_EA          0x000FU
#define USB_EP_STAT_TX     0x0030U /* toggle */
#define USB_EP_DTOG_TX     0x0040U /* toggle */
#define USB_EP_CTR_TX      0x0080U /* rc_w0 */
#define USB_EP_KIND        0x0100U
#define USB_EP_TYPE        0x0600U
#define USB_EP_BULK        0x0000U
#define USB_EP_CONTROL     0x0200U
#define USB_EP_SETUP       0x0800U /* read-only */
#define USB_EP_STAT_RX     0x3000U /* toggle */
#define USB_EP_DTOG_RX     0x4000U /* toggle */
#define USB_EP_CTR_RX      0x8000U /* rc_w0 */
#define USB_EP_TX_DISABLED 0x0000U
#define USB_EP_TX_STALL    0x0010U
#define USB_EP_TX_NAK      0x0020U
#define USB_EP_TX_VALID    0x0030U
#define USB_EP_RX_DISABLED 0x0000U
#define USB_EP_RX_STALL    0x1000U
#define USB_EP_RX_NAK      0x2000U
#define USB_EP_RX_VALID    0x3000U

/* 96 bits, RM0008 §30.2. */
#define UNIQUE_ID ((const uint32_t *)0x1FFFF7E8)

struct systick_regs {
    volatile uint32_t CTRL, LOAD, VAL, CALIB;
};
#define SYSTICK ((struct systick_regs *)0xE000E010)

#define SYSTICK_CTRL_ENABLE    (1U << 0)
#define SYSTICK_CTRL_TICKINT   (1U << 1)
#define SYSTICK_CTRL_CLKSOURCE (1U << 2) /* the core's clock, not an eighth of it */

#define NVIC_ISER ((volatile uint32_t *)0xE000E100)
#define SCB_CCR   ((volatile uint32_t *)0xE000ED14)

#define SCB_CCR_STKALIGN (1U << 9)

enum irq { IRQ_USB_LP = 20, IRQ_TIM2 = 28 };

static inline void irq_enable(enum irq irq)
{
    NVIC_ISER[irq / 32U] = 1U << (irq % 32U);
}

static inline void wait_for_interrupt(void)
{
    __asm__ volatile("wfi" ::: "memory");
}

#endif
