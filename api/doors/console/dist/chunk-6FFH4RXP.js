import{j as o}from"./chunk-OAMKLHKT.js";var n=o(null),p=o(null);export{n as a,p as b};
